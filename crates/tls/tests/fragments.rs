//! Messages of the handshake that go on in the next record, while something else is going on.

#![cfg(not(windows))]

use tidegate_protocols::Transport;
use tidegate_reactor::spawn;
use tidegate_testkit::memory::{Line, PairOptions};
use tidegate_testkit::{Event, Recorder, turns, until};

mod authority;
mod support;

use support::{Both, Peer, handle, jumping, layered, pattern};

/// The records that lie one behind the other.
fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let length = 5 + usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
        let (record, rest) = bytes.split_at(length);
        records.push(record);
        bytes = rest;
    }
    records
}

// TLS-23: not an error, and what is sent meanwhile is sent
#[test]
fn sending_goes_on_while_half_a_message_has_come() {
    jumping(async {
        let tls = Both::new();
        let client = Recorder::new();
        let log = client.log();
        let (left, opened) = layered(&[tls.client_layer()], client);
        let peer = Peer::slow_server(&tls, 64);
        let line = Line::open(&handle(), left, Box::new(peer.protocol()), PairOptions::default());
        let line = line.expect("a line");
        let mut opening = Some(spawn(opened).expect("a task"));
        let mut flights = Vec::new();
        let mut client: Option<Transport> = None;
        let mut sent = 0;
        // The flight that opens the client, and the tickets behind it.
        while flights.len() < 2 {
            let mut flight = Vec::new();
            until(|| {
                flight = peer.unsent();
                !flight.is_empty()
            })
            .await;
            for record in records(&flight) {
                line.right.write(record);
                turns(5).await;
                if let Some(client) = &client {
                    sent += 1000;
                    client.write(&pattern(1000));
                    client.flush().await.expect("it is sent");
                }
            }
            flights.push(records(&flight).len());
            if let Some(opening) = opening.take() {
                client = Some(opening.await.expect("a task").expect("an open client"));
            }
        }
        let client = client.expect("it was opened by the first flight");
        assert!(flights[1] > 1, "the tickets came in one piece");
        client.write(b"the end");
        peer.received(sent + 7).await;
        client.close();
        until(|| peer.is_notified()).await;
        line.right.abort();
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(None)]);
    });
}

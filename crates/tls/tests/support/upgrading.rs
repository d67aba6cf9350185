//! Connections in clear that go on in TLS.

use tidegate_protocols::{Protocol, Transport};
use tidegate_testkit::memory::{Line, PairOptions};
use tidegate_testkit::{Log, Recorder};
use tidegate_tls::{StartTls, start_tls};

use super::{Both, End, handle};

/// A line in clear, with a recorder at its left end.
pub(crate) fn line(options: PairOptions, left: Recorder, right: impl Protocol) -> (End, Line) {
    let log = left.log();
    let line = Line::open(&handle(), Box::new(left), Box::new(right), options).expect("a line");
    (End { transport: line.left.clone(), log }, line)
}

/// Two recorders in clear.
pub(crate) async fn clear(
    options: PairOptions,
    left: Recorder,
    right: Recorder,
) -> (End, End, Line) {
    let log = right.log();
    let (left, line) = line(options, left, right);
    left.log.made().await;
    log.made().await;
    let right = End { transport: line.right.clone(), log };
    (left, right, line)
}

pub(crate) fn as_client(tls: &Both, transport: &Transport) -> StartTls {
    start_tls(transport, (&tls.client, "localhost")).expect("it can start")
}

pub(crate) fn as_server(tls: &Both, transport: &Transport) -> StartTls {
    start_tls(transport, &tls.server).expect("it can start")
}

pub(crate) async fn close(left: &End, right: &End) {
    left.close();
    left.log.lost().await;
    right.log.lost().await;
    for end in [left, right] {
        end.log.until(Log::is_abandoned).await;
        end.log.assert_complete();
    }
}

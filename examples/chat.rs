//! A chat: what one client says goes to all others, and a client that reads too slowly is dropped:
//! `cargo run --example chat -- [HOST:PORT]`.
//!
//! Join it from several terminals with `nc 127.0.0.1 8888`; the first line that you send is your name. Nobody waits
//! for anybody else: each line is written to all others at once, and what a client has not read yet waits in memory.
//! At most 64 KiB do so for each client (`abort_above`), and there are at most 1,000 clients. One for which more
//! would have to wait is dropped. When a client leaves, the server prints how much has waited for it at most.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use tidegate::ReadUntilError;
use tidegate::prelude::*;
use tidegate_examples::{host_and_port, told};

/// A client for which more bytes than this would wait is dropped.
const MOST_WAITING: usize = 64 << 10;

/// A longer line is not passed on.
const LONGEST_LINE: usize = 1 << 10;

const MOST_CLIENTS: usize = 1000;

/// Passes on what each client says to all others, and drops clients that read too slowly.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 is any free one.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port, default_value = "127.0.0.1:8888")]
    address: (String, u16),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    told(tidegate::run(async {
        let room = Rc::new(Room::default());
        let handler = move |reader, writer| chat(Rc::clone(&room), reader, writer);
        let server = start_server(handler, arguments.address)
            .limit(LONGEST_LINE)
            .abort_above(MOST_WAITING)
            .max_connections(MOST_CLIENTS)
            .await?;
        for socket in server.sockets() {
            println!("serving on {}", socket.sockname());
        }
        server.serve_forever().await
    }))
}

/// A client from its beginning to its end.
async fn chat(room: Rc<Room>, reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    let mut client = Client { reader, writer };
    let Some(name) = client.enter(&room).await? else { return Ok(()) };
    let ended = client.talk(&room, &name).await;
    // However it ended, the others are told, and the room lets go of its writer. This one is the last then.
    room.leave(&name, ended);
    Ok(())
}

struct Client {
    reader: StreamReader,
    writer: StreamWriter,
}

impl Client {
    /// Asks for a name until it is one that nobody has; None if the client leaves without.
    async fn enter(&mut self, room: &Room) -> io::Result<Option<String>> {
        self.tell("what is your name?");
        while let Some(name) = self.next_line().await? {
            if name.is_empty() {
                self.tell("a name is not empty; what is yours?");
            } else if room.enter(&name, &self.writer) {
                return Ok(Some(name));
            } else {
                self.tell("this name is taken; what is yours?");
            }
        }
        Ok(None)
    }

    /// Passes on what the client says, until it leaves or its connection is lost.
    async fn talk(&mut self, room: &Room, name: &str) -> io::Result<()> {
        while let Some(line) = self.next_line().await? {
            room.tell_others(name, &format!("{name}: {line}\n"));
        }
        Ok(())
    }

    /// The next line, without what could upset a terminal; None at the end of the stream.
    async fn next_line(&mut self) -> io::Result<Option<String>> {
        loop {
            match self.reader.readline().await {
                Ok(line) if line.is_empty() => return Ok(None),
                Ok(line) => {
                    let line = String::from_utf8_lossy(&line);
                    return Ok(Some(line.chars().filter(|letter| !letter.is_control()).collect()));
                }
                Err(ReadUntilError::LimitOverrun(_)) => {
                    // Nothing of it was read: the next line begins behind it.
                    self.reader.skip_until(b"\n").await?;
                    self.tell("this line was too long");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn tell(&self, text: &str) {
        self.writer.writelines(["* ", text, "\n"]);
    }
}

/// Everybody who has a name.
#[derive(Default)]
struct Room {
    members: RefCell<BTreeMap<String, Member>>,
}

struct Member {
    writer: StreamWriter,
    most_waiting: usize,
}

impl Room {
    /// Takes in a client and tells everybody; false if somebody has this name.
    fn enter(&self, name: &str, writer: &StreamWriter) -> bool {
        if self.members.borrow().contains_key(name) {
            return false;
        }
        let member = Member { writer: writer.clone(), most_waiting: 0 };
        self.members.borrow_mut().insert(name.to_owned(), member);
        println!("{name} has come");
        writer.writelines(["* welcome, ", name, "\n"]);
        self.tell_others(name, &format!("* {name} has come\n"));
        true
    }

    /// Writes to everybody but the one of this name. It waits for nobody, and calls nothing that could come back
    /// here: so the members may stay borrowed.
    fn tell_others(&self, name: &str, text: &str) {
        for (other, member) in self.members.borrow_mut().iter_mut() {
            if other != name {
                // A client that was dropped meanwhile answers `Flow::Closed`; its own task will see to it.
                member.writer.write(text.as_bytes());
                let waiting = member.writer.transport().get_write_buffer_size();
                member.most_waiting = member.most_waiting.max(waiting);
            }
        }
    }

    /// Lets go of a client and tells everybody.
    fn leave(&self, name: &str, ended: io::Result<()>) {
        let Some(member) = self.members.borrow_mut().remove(name) else { return };
        let most = member.most_waiting;
        match ended {
            Ok(()) => println!("{name} has left; at most {most} bytes waited for it"),
            Err(error) => println!("{name} is lost: {error}; at most {most} bytes waited for it"),
        }
        self.tell_others(name, &format!("* {name} has left\n"));
    }
}

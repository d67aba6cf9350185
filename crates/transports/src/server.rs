//! A server: listening sockets, the connections accepted on them, and the handle that governs both.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tidegate_protocols::{Waiter, Waiters};
use tidegate_reactor::{LoopHandle, Report, timeout};

use crate::errors::ServerError;
use crate::factory::ProtocolFactory;
use crate::opening::Choices;
use crate::stream::Attached;

mod accept;
mod listeners;
mod members;

use accept::Acceptor;
pub(crate) use listeners::Bound;
use listeners::Listeners;
pub use listeners::ServerSocket;
pub use members::ServerStatistics;
use members::{Members, count};

/// A server made by [`create_server`](crate::create_server).
///
/// It is a handle: clones govern the same server, and dropping the last one changes nothing, since the loop
/// keeps a serving server alive. It ends when it is [closed](Server::close), when a
/// [`serve_forever`](Server::serve_forever) of it is dropped, or with its loop. A server that never served is
/// closed with its last handle. The asyncio counterpart is `asyncio.Server`.
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::time::Duration;
/// use tidegate_protocols::{Protocol, Transport};
/// use tidegate_transports::create_server;
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
///         transport.write(data);
///         Ok(())
///     }
/// }
///
/// fn main() -> io::Result<()> {
///     tidegate_reactor::run(async {
///         let server = create_server(|| Echo, ("127.0.0.1", 0)).await?;
///         println!("serving on {}", server.sockets()[0].sockname());
///         let aborted = server.drain(Duration::from_secs(10)).await;
///         assert_eq!(aborted, 0);
///         Ok::<(), io::Error>(())
///     })
/// }
/// ```
#[derive(Clone)]
pub struct Server(Rc<Core>);

impl Server {
    pub(crate) fn new(
        handle: &LoopHandle,
        bound: Vec<Bound>,
        recipe: Recipe,
        settings: Settings,
    ) -> io::Result<Server> {
        Ok(Server(Rc::new(Core {
            handle: handle.clone(),
            settings,
            listeners: Listeners::new(bound)?,
            recipe: Cell::new(Some(recipe)),
            stage: Cell::new(Stage::Bound),
            awaited: Cell::new(false),
            sweeping: Cell::new(false),
            members: Members::default(),
            waiters: Waiters::new(),
        })))
    }

    /// Starts at once, without the turn that follows.
    pub(crate) fn start(&self) -> io::Result<()> {
        self.0.start()
    }

    /// The sockets it listens on, in the order of the addresses asked for; none when it is closed.
    ///
    /// They are there before it serves. The asyncio counterpart is `Server.sockets`.
    pub fn sockets(&self) -> Vec<ServerSocket> {
        self.0.listeners.sockets()
    }

    /// Whether it accepts connections: it was started and is not closed.
    ///
    /// It stays true while accepting rests, at [`max_connections`](crate::CreateServer::max_connections) or
    /// when the system has no descriptors left.
    pub fn is_serving(&self) -> bool {
        self.0.stage.get() == Stage::Serving
    }

    /// What it has done and what it holds.
    pub fn statistics(&self) -> ServerStatistics {
        self.0.members.statistics()
    }

    /// Starts accepting when it is first polled, then lets one turn of the loop pass. On a server that serves
    /// already only the turn passes.
    ///
    /// # Errors
    ///
    /// [`ServerError::Closed`]; what the system says to `listen`, such as that another socket listens on the
    /// same port, which closes the server.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future during the turn changes nothing any more: the server serves.
    pub fn start_serving(&self) -> impl Future<Output = io::Result<()>> + use<> {
        let core = self.0.clone();
        async move {
            core.start()?;
            one_turn().await;
            Ok(())
        }
    }

    /// Starts accepting when it is first polled, and ends only with an error.
    ///
    /// # Errors
    ///
    /// - [`ServerError::Closed`] when the server is closed already, [`ServerError::AlreadyServing`] when
    ///   another `serve_forever` of it waits, and the errors of [`start_serving`](Server::start_serving).
    /// - [`ServerError::Interrupted`], of the kind [`Interrupted`](io::ErrorKind::Interrupted), when the server
    ///   is closed from elsewhere and its last client is gone. (asyncio's ends as cancelled then.)
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, once it was polled, closes the server as [`close`](Server::close) does; clients stay
    /// connected. (asyncio waits for them; use [`drain`](Server::drain) for that.)
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::io;
    /// use tidegate_protocols::Protocol;
    /// use tidegate_transports::create_server;
    ///
    /// struct Discard;
    /// impl Protocol for Discard {}
    ///
    /// fn main() -> io::Result<()> {
    ///     tidegate_reactor::run(async {
    ///         create_server(|| Discard, ("localhost", 9)).await?.serve_forever().await
    ///     })
    /// }
    /// ```
    pub fn serve_forever(&self) -> impl Future<Output = io::Result<()>> + use<> {
        let core = self.0.clone();
        async move {
            let awaited = Awaited::begin(&core)?;
            core.start()?;
            core.gone().await;
            drop(awaited);
            Err(ServerError::Interrupted.into())
        }
    }

    /// Stops accepting and closes the listening sockets at once; established connections go on.
    ///
    /// Connections that the system has accepted but the server has not are reset. Closing twice changes
    /// nothing, and a closed server does not open again.
    pub fn close(&self) {
        self.0.close();
    }

    /// Closes every connection, as [`Transport::close`](tidegate_protocols::Transport::close) does: what was
    /// written is still sent. The server itself goes on.
    ///
    /// Connections with layers are closed below them, as in asyncio: TLS then ends without its goodbye.
    /// [`drain`](Server::drain) closes them from above.
    pub fn close_clients(&self) {
        for wire in self.0.members.wires() {
            wire.close();
        }
    }

    /// Aborts every connection: what was written and not yet sent is dropped. The server itself goes on.
    pub fn abort_clients(&self) {
        self.0.abort_clients();
    }

    /// Waits until the server is closed *and* its last connection is gone.
    ///
    /// Before it is closed this waits even if there are no connections. Any number may wait.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub fn wait_closed(&self) -> impl Future<Output = ()> + use<> {
        let core = self.0.clone();
        async move { core.gone().await }
    }

    /// Ends the server in good order: closes it, closes every connection as its protocol would, waits until all
    /// are gone, and aborts those that are not gone after `deadline`.
    ///
    /// The answer is how many were aborted; when it comes every connection is gone. It begins when it is first
    /// polled. asyncio has `close`, `close_clients` and `wait_closed` for this.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future aborts nobody: the server stays closed and its connections go on closing.
    pub fn drain(&self, deadline: Duration) -> impl Future<Output = usize> + use<> {
        let core = self.0.clone();
        async move {
            core.close();
            for top in core.members.tops() {
                top.close();
            }
            // Whether it was in time shows in how many are left.
            let _ = timeout(deadline, core.gone()).await;
            let aborted = core.abort_clients();
            core.gone().await;
            aborted
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("stage", &self.0.stage.get())
            .field("sockets", &self.sockets())
            .field("statistics", &self.statistics())
            .finish()
    }
}

/// How a server makes the protocol of a connection: the user's own values.
pub(crate) struct Recipe {
    pub(crate) factory: Box<dyn ProtocolFactory>,
    pub(crate) choices: Choices,
}

/// How much a server takes on.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) backlog: u32,
    pub(crate) max_connections: usize,
    pub(crate) max_opening: usize,
    pub(crate) idle_timeout: Option<Duration>,
}

/// `Bound` becomes `Serving`, and both become `Closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Bound,
    Serving,
    Closed,
}

/// One server, shared by its handles, its connections and, while it serves, the loop.
struct Core {
    handle: LoopHandle,
    settings: Settings,
    listeners: Listeners,
    /// Taken while it runs, since a factory may call the server; gone when the server is closed.
    recipe: Cell<Option<Recipe>>,
    stage: Cell<Stage>,
    /// A `serve_forever` waits.
    awaited: Cell<bool>,
    /// The timer of the idle connections runs.
    sweeping: Cell<bool>,
    members: Members,
    /// Who waits for the server to be gone.
    waiters: Waiters,
}

impl Core {
    fn start(self: &Rc<Core>) -> io::Result<()> {
        match self.stage.get() {
            Stage::Closed => return Err(ServerError::Closed.into()),
            Stage::Serving => return Ok(()),
            Stage::Bound => {}
        }
        let watcher = |number| Rc::new(Acceptor { core: self.clone(), number });
        if let Err(error) = self.listeners.listen(&self.handle, self.settings.backlog, watcher) {
            // Some may listen already, and nothing can undo that.
            self.close();
            return Err(error);
        }
        self.stage.set(Stage::Serving);
        self.watch();
        Ok(())
    }

    fn close(&self) {
        if self.stage.replace(Stage::Closed) == Stage::Closed {
            return;
        }
        for (title, error) in self.listeners.close() {
            self.report_left_file(title, error);
        }
        let recipe = self.recipe.take();
        self.waiters.wake_all();
        drop(recipe);
    }

    /// A socket's file could not be removed. This may be inside a call of the user's, so it is told later.
    fn report_left_file(&self, title: String, error: io::Error) {
        let handle = self.handle.clone();
        let report = Report::new("Unable to unlink UNIX socket").error(error).socket(title);
        // A loop that is closed has nobody to tell.
        let _closed = self.handle.call_soon(move || handle.call_exception_handler(report));
    }

    /// Watches the listeners if another connection is welcome.
    fn watch(&self) {
        self.listeners.watch(self.is_open_to_more());
    }

    fn is_open_to_more(&self) -> bool {
        self.stage.get() == Stage::Serving && self.members.len() < self.settings.max_connections
    }

    fn is_gone(&self) -> bool {
        self.stage.get() == Stage::Closed && self.members.len() == 0
    }

    /// Waits until the server is closed and its last connection is gone.
    async fn gone(&self) {
        let waiter = Waiter::new();
        poll_fn(|context| {
            if self.is_gone() {
                return Poll::Ready(());
            }
            self.waiters.register(&waiter, context.waker());
            Poll::Pending
        })
        .await;
    }

    fn abort_clients(&self) -> usize {
        let wires = self.members.wires();
        count(&self.members.aborted, wires.len());
        for wire in &wires {
            wire.abort();
        }
        wires.len()
    }
}

impl Attached for Core {
    fn detached(&self, member: usize) {
        let departed = self.members.remove(member);
        if self.stage.get() == Stage::Serving {
            self.watch();
        } else if self.is_gone() {
            self.waiters.wake_all();
        }
        drop(departed);
    }
}

/// A `serve_forever` that waits. Dropped, it closes the server.
struct Awaited(Rc<Core>);

impl Awaited {
    fn begin(core: &Rc<Core>) -> Result<Awaited, ServerError> {
        if core.stage.get() == Stage::Closed {
            return Err(ServerError::Closed);
        }
        if core.awaited.replace(true) {
            return Err(ServerError::AlreadyServing);
        }
        Ok(Awaited(core.clone()))
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.awaited.set(false);
        self.0.close();
    }
}

/// Lets one turn of the loop pass.
pub(crate) async fn one_turn() {
    let mut passed = false;
    poll_fn(|context| {
        if std::mem::replace(&mut passed, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

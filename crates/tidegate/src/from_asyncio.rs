//! For those who come from asyncio: every name and where it lives here, and every difference on purpose.
//!
//! This module has no code. Behaviour that is not in the second table is asyncio's.
//!
//! # Names
//!
//! | asyncio | here |
//! |---|---|
//! | `asyncio.run` | [`run`](crate::run) |
//! | `asyncio.new_event_loop` | [`EventLoop::new`](crate::EventLoop::new) |
//! | `asyncio.get_running_loop` | [`LoopHandle::current`](crate::LoopHandle::current) |
//! | `loop.run_until_complete`, `run_forever`, `stop`, `close`, `time`, `is_running`, `is_closed` | the same on [`EventLoop`](crate::EventLoop) |
//! | `loop.call_soon`, `call_later`, `call_at` | the same on [`LoopHandle`](crate::LoopHandle) |
//! | `loop.call_soon_threadsafe` | [`Remote::call_soon_threadsafe`](crate::Remote), from [`LoopHandle::remote`](crate::LoopHandle::remote) |
//! | `asyncio.Handle`, `TimerHandle` | [`Handle`](crate::Handle), [`TimerHandle`](crate::TimerHandle) |
//! | `asyncio.create_task`, `asyncio.Task` | [`spawn`](crate::spawn), whose answer is a `Result`, as there may be no loop: `spawn(..)?.await?`; [`JoinHandle`](crate::JoinHandle) |
//! | `asyncio.sleep`, `asyncio.timeout`, `wait_for` | [`sleep`](crate::sleep), [`timeout`](crate::timeout), which takes the time first and then the future: `timeout(limit, process.wait())` |
//! | `loop.create_future` | [`create_future`](crate::create_future) |
//! | `loop.run_in_executor`, `shutdown_default_executor` | the same on [`LoopHandle`](crate::LoopHandle) |
//! | `loop.getaddrinfo`, `getnameinfo` | the same on [`LoopHandle`](crate::LoopHandle) |
//! | `loop.add_reader`, `remove_reader`, `add_writer`, `remove_writer` | the same on [`LoopHandle`](crate::LoopHandle) |
//! | `loop.add_signal_handler`, `remove_signal_handler` | the same on [`LoopHandle`](crate::LoopHandle) |
//! | `loop.set_exception_handler`, `call_exception_handler` | the same, with a [`Report`](crate::Report) as the context |
//! | `loop.set_debug`, `slow_callback_duration` | the same on [`LoopHandle`](crate::LoopHandle) |
//! | `loop.create_connection` | [`create_connection`](crate::create_connection) |
//! | `loop.create_server`, `asyncio.Server` | [`create_server`](crate::create_server), [`Server`](crate::Server) |
//! | `loop.connect_accepted_socket` | [`connect_accepted_socket`](crate::connect_accepted_socket) |
//! | `loop.create_unix_connection`, `create_unix_server` | `create_unix_connection`, `create_unix_server`, with the feature `unix`; also in [`transports`](crate::transports) |
//! | `asyncio.open_unix_connection`, `start_unix_server` | `open_unix_connection`, `start_unix_server`, with the feature `unix`; also in [`streams`](crate::streams) |
//! | `socket.send_fds`, `recv_fds` | [`Transport::send_with_fds`](crate::Transport::send_with_fds), [`take_fds`](crate::Transport::take_fds) |
//! | `loop.connect_read_pipe`, `connect_write_pipe` | [`connect_read_pipe`](crate::connect_read_pipe), [`connect_write_pipe`](crate::connect_write_pipe); for tasks [`open_read_pipe`](crate::open_read_pipe), [`open_write_pipe`](crate::open_write_pipe) |
//! | `asyncio.ReadTransport`, `WriteTransport` | [`ReadTransport`](crate::ReadTransport), [`WriteTransport`](crate::WriteTransport) |
//! | `connect_read_pipe(.., sys.stdin)` and its like | [`connect_stdin`](crate::connect_stdin), [`connect_stdout`](crate::connect_stdout), [`connect_stderr`](crate::connect_stderr); for tasks [`open_stdin`](crate::open_stdin), [`open_stdout`](crate::open_stdout), [`open_stderr`](crate::open_stderr) |
//! | `transport.get_extra_info("pipe")` | [`Pipe`](crate::Pipe) by type, and [`with_socket`](crate::Transport::with_socket) for the descriptor |
//! | `loop.create_datagram_endpoint`, `asyncio.DatagramProtocol`, `DatagramTransport` | `create_datagram_endpoint`, `DatagramProtocol`, `DatagramTransport`, with the feature `datagram`; also in [`transports`](crate::transports) and [`protocols`](crate::protocols); for tasks `open_datagram` |
//! | `asyncio.create_subprocess_exec`, `create_subprocess_shell` | `create_subprocess_exec`, `create_subprocess_shell`, with the feature `subprocess`, as everything of children |
//! | `asyncio.subprocess.Process`: `stdin`, `stdout`, `stderr`, `pid`, `returncode`, `wait`, `communicate`, `send_signal`, `terminate`, `kill` | the same on `Process`; `communicate` has a `limit`, and answers a `ProcessOutput`; no input is `communicate("")`, and an input needs `stdin(Stdio::Pipe)` |
//! | `asyncio.subprocess.PIPE`, `STDOUT`, `DEVNULL`; none | `Stdio::Pipe`, `Stdio::Stdout`, `Stdio::Null`; `Stdio::Inherit` |
//! | `env=`, `cwd=`, `start_new_session=`, `process_group=`, `pass_fds=`, `executable=`, `user=`, `group=`, `umask=` | `env_clear` and `envs`, `current_dir`, `start_new_session`, `process_group`, `pass_fd`, `arg0`, `uid`, `gid`, `umask` on the builder |
//! | `loop.subprocess_exec`, `subprocess_shell` | `subprocess_exec`, `subprocess_shell` |
//! | `asyncio.SubprocessProtocol`, `SubprocessTransport` | `SubprocessProtocol`, `SubprocessTransport` |
//! | `ProcessLookupError`, `FileNotFoundError` of a program | `SendSignalError::NoSuchProcess`, `SpawnError::ProgramNotFound` |
//! | `os.killpg` | `send_signal_to_group`, `kill_group` |
//! | `loop.sendfile`, `asyncio.SendfileNotAvailableError` | [`sendfile`](crate::sendfile), [`SendfileError::NotAvailable`](crate::SendfileError::NotAvailable) |
//! | `loop.sock_recv`, `sock_recv_into`, `sock_recvfrom`, `sock_recvfrom_into`, `sock_sendall`, `sock_sendto`, `sock_connect`, `sock_accept`, `sock_sendfile` | functions of the same names, such as [`sock_recv`](crate::sock_recv) |
//! | `asyncio.open_connection`, `start_server` | [`open_connection`](crate::open_connection), [`start_server`](crate::start_server) |
//! | `asyncio.StreamReader`: `read`, `readline`, `readexactly`, `readuntil`, `at_eof`, `exception` | the same on [`StreamReader`](crate::StreamReader) |
//! | `reader.read(-1)` | [`StreamReader::read_to_end`](crate::StreamReader::read_to_end) |
//! | `reader.readuntil((a, b))` | [`StreamReader::readuntil_any`](crate::StreamReader::readuntil_any) |
//! | `async for line in reader` | [`StreamReader::lines`](crate::StreamReader::lines), a `Stream` |
//! | `reader.feed_data`, `feed_eof`, `set_exception`, `set_transport` | the same on [`Feeder`](crate::Feeder), from [`StreamReader::feeder`](crate::StreamReader::feeder) |
//! | `asyncio.StreamWriter`: `write`, `writelines`, `write_eof`, `drain`, `close`, `wait_closed`, `is_closing`, `get_extra_info` | the same on [`StreamWriter`](crate::StreamWriter) |
//! | `writer.transport` | [`StreamWriter::transport`](crate::StreamWriter::transport) |
//! | `StreamWriter.start_tls` | [`StreamWriter::start_tls`](crate::StreamWriter::start_tls), with the reader and what `tls::start_tls` takes; [`StreamPair::start_tls`](crate::StreamPair::start_tls) |
//! | `asyncio.StreamReaderProtocol` | [`StreamReaderProtocol`](crate::StreamReaderProtocol) |
//! | `asyncio.IncompleteReadError`, `LimitOverrunError` | [`IncompleteReadError`](crate::IncompleteReadError), [`LimitOverrunError`](crate::LimitOverrunError), inside of [`ReadUntilError`](crate::ReadUntilError) and [`ReadExactlyError`](crate::ReadExactlyError) |
//! | `limit=` | [`StreamLimit::limit`](crate::StreamLimit::limit) on the builder; [`ReadUntil::limit`](crate::streams::ReadUntil::limit) for one read |
//! | `asyncio.Protocol`, `BufferedProtocol` | [`Protocol`](crate::Protocol); `get_buffer` and `buffer_updated` are methods of it |
//! | `asyncio.Transport` | [`Transport`](crate::Transport) |
//! | `transport.get_protocol` | [`Transport::with_protocol`](crate::Transport::with_protocol) |
//! | `transport.get_extra_info("peername")` | [`Transport::peername`](crate::Transport::peername), or [`get_extra_info`](crate::Transport::get_extra_info) by type |
//! | `ssl=`, of `create_connection`, `open_connection` and their kin | `.tls(client, name)` on the builder, by `tls::ClientTls`; everything of TLS comes with the feature `tls` or `tls-ring` |
//! | `ssl=`, of `create_server`, `start_server`, `connect_accepted_socket` and their kin | `.tls(server)` on the builder, by `tls::ServerTls` |
//! | `server_hostname=` | the `name` of `.tls(client, name)`; an empty one stands for the host, except with `start_tls` |
//! | `ssl_handshake_timeout=`, `ssl_shutdown_timeout=` | `handshake_timeout` and `shutdown_timeout`, of `tls::ClientBuilder`, `tls::ServerBuilder` and, for `start_tls`, `tls::Upgrade` |
//! | `loop.start_tls(transport, protocol, sslcontext, server_side=)` | `tls::start_tls(&transport, &server)`, `tls::start_tls(&transport, (&client, name))`; the protocol stays, and which side it is says the type |
//! | `ssl.SSLContext` | `tls::Client`, `tls::Server`; ready-made ones of rustls by `from_config` |
//! | `ssl=True`, `ssl.create_default_context()` | `tls::Client::new()` |
//! | `ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)` | `tls::Server::from_pem_files(chain, key)` |
//! | `SSLContext.load_cert_chain` | `certificate_files` of `tls::ServerBuilder`, as often as there are certificates, and of `tls::ClientBuilder` |
//! | `SSLContext.load_verify_locations`, `load_default_certs` | `root_certificates`, `root_certificates_file` and `system_roots` of `tls::ClientBuilder`; a server names whom it trusts where it asks for certificates |
//! | `SSLContext.verify_mode` | of a client, `CERT_NONE`: `danger_accept_any_certificate`; of a server, `CERT_REQUIRED` and `CERT_OPTIONAL`: `client_certificates_required`, `client_certificates_optional` |
//! | `SSLContext.check_hostname = False` | `danger_accept_any_hostname` of `tls::ClientBuilder` |
//! | `SSLContext.set_alpn_protocols` | `alpn` of both builders |
//! | `SSLContext.minimum_version`, `maximum_version` | `versions` of both builders, such as `Version::Tls13..=Version::Tls13` |
//! | `SSLContext.sni_callback` | several `certificate_files`: the one whose certificate is valid for the name is shown; any other choice is a resolver of rustls |
//! | `SSLContext.keylog_filename`, `SSLKEYLOGFILE` | `key_log_file` of both builders |
//! | `SSLContext.options` with `OP_NO_TICKET`, `num_tickets`, `SSLObject.session` | `resumption` of both builders, and `session_tickets` of a server's |
//! | `get_extra_info("sslcontext")` | `tls::TlsConfig` by type, at once |
//! | `get_extra_info("cipher")`, `"peercert"`, `"compression"` | `tls::Cipher`, `tls::PeerCertificates`, `tls::Compression` (there never is any) by type, once the handshake is done; certificates in DER, as of `getpeercert(binary_form=True)` |
//! | `get_extra_info("ssl_object")` | what one asks it for, by type: `tls::Alpn` for `selected_alpn_protocol`, `tls::TlsName` for `server_hostname`, `tls::SessionReused` for `session_reused` |
//! | `ssl.SSLError` | `tls::TlsError`, inside of the `io::Error`: `TlsError::of(&error)` |
//! | `ssl.SSLCertVerificationError` | `tls::TlsError::Certificate` with a `tls::CertificateProblem` |
//! | keyword arguments | methods of the builder that a function such as [`create_server`](crate::create_server) returns, before `.await` |
//!
//! What asyncio has beside its networking is not here: for `gather`, `wait`, queues, locks and events take any crate
//! that asks for no runtime of its own, such as `futures-lite` or `async-channel`. (A few at a time, as with a
//! `Semaphore`: so many tasks take their work from one queue; see the example `run_many`.) Tasks may be woken from any
//! thread, so a channel is also how a thread hands a value to a task.
//!
//! A builder is an `IntoFuture`: `.await` it, or write `.into_future()` where a future is asked for.
//!
//! # Differences on purpose
//!
//! | asyncio | here | why |
//! |---|---|---|
//! | callbacks get no transport, protocols store it | each callback receives it | no `Option`, no stale handle |
//! | `(transport, protocol)` is returned | the transport; keep a share of the protocol (`Rc<RefCell<P>>`), or use `with_protocol` | ownership |
//! | `pause_writing` comes inside `write` | `write` returns a [`Flow`](crate::Flow); the callback follows when the step ends | a transport's method never calls a protocol |
//! | an exception in a callback | `Err`, or a caught panic, ends that connection with that cause | nothing else can raise |
//! | `write` sends at once | what a step wrote leaves together when the step ends; `get_write_buffer_size` counts it; `flush` sends now | one system call |
//! | what I/O wakes runs a turn later | tasks woken by I/O run in the same turn | one wait less |
//! | `close` with unread input may destroy the last reply | the same, and `close_lingering` is offered | the kernel answers with a reset |
//! | a handler that never yields starves others | 128 completed operations without waiting yield once | fairness |
//! | writes after a loss are counted and logged | [`Flow::Closed`](crate::Flow::Closed) | a value beats a log line |
//! | `readline` drops data when a line is too long | nothing is consumed; [`skip_until`](crate::StreamReader::skip_until) goes on behind it | the commonest complaint |
//! | an error hides data that was already received | the data is read first, then the error; [`set_exception`](crate::Feeder::set_exception) hides it | nothing is lost silently |
//! | a second read while one waits is an error | reads borrow the reader, so there is none | the compiler checks |
//! | `writer.close()`, then `await writer.wait_closed()` | [`writer.close().await`](crate::StreamWriter::close); closing acts at once, awaited or not | one line |
//! | a plain `client_connected_cb` that raises leaves the connection open | one that panics ends it | as every other callback |
//! | Happy Eyeballs is off by default | on, 250 ms, interleaved; all errors are kept | a dead route must not cost 15 s |
//! | `connection_made` that raises leaves the connection open | one that panics ends it | as every other callback |
//! | a live Unix socket path is taken over | refused; a stale one is replaced | two servers, one silent |
//! | a Unix server with a full queue is a `BlockingIOError` to who connects | tried again for a second | it passes |
//! | passing descriptors is the program's own affair, around the transport | `send_with_fds` and `take_fds`, in order with the bytes | both travel in one call |
//! | a pipe's protocol that raises goes on | its connection ends | as every other callback |
//! | standard streams are made non-blocking, for everyone who shares them, and cannot be files | nothing that others share is changed; files will do | the parent's terminal stays as it was |
//! | `write` during a `sendfile` raises | it waits behind the file | call order is wire order |
//! | a closed transport leaves a `sendfile` hanging | it answers [`SendfileError::Failed`](crate::SendfileError::Failed) with what was sent | nothing is lost silently |
//! | `sock_*` refuse blocking sockets in debug mode | always | one would stop the loop |
//! | a datagram leaves by a call of its own | equal ones of a step leave in one call, and the kernel splits them; they come joined likewise. [`segmentation(false)`](crate::transports::CreateDatagramEndpoint::segmentation) turns it off | a tenth of the work |
//! | a readiness brings one datagram | as many as have come together before, 64 receives at most | one wait for all |
//! | `sendto` to a wrong address, or of too much, is an error of the endpoint | an `Err` of `sendto`; the endpoint goes on | a bad argument is the caller's |
//! | a connection stays with its loop | [`Transport::detach`](crate::Transport::detach) and [`adopt`](crate::adopt) move it to another one | a thread for each core |
//! | TLS cannot half-close | `write_eof` sends close_notify, and reading goes on | TLS 1.3 allows it |
//! | over TLS, a stream that was cut short ends like any other | an error of the kind `UnexpectedEof`, `tls::TlsError::Truncated`, behind the data; `accept_truncation` restores asyncio's rule | whoever is in between can cut |
//! | over TLS, `pause_writing` comes at the high mark and counts one layer | strictly above it, and counts every layer's bytes; the marks are still 512 and 128 KiB | one rule for every transport |
//! | over TLS, `pause_reading` takes effect when 256 KiB wait | at once | one rule for every transport |
//! | over TLS, `eof_received` may follow a `close` | nothing is received after it | as over every transport |
//! | what is written after a `close` over TLS is counted and logged | [`Flow::Closed`](crate::Flow::Closed) | the peer was told of the end |
//! | `ssl_shutdown_timeout` cuts off a peer that reads slowly | it begins anew as long as the peer reads | nothing is lost silently |
//! | `start_tls` answers a new transport, and the old one must not be used | every handle of the connection is the secure one at once | nothing can leave in clear any more |
//! | `start_tls` loses bytes that came along in clear, or takes them for the peer's in TLS | an error, with everything as it was; `tls::Upgrade::hand_over` if that is wanted | somebody may have injected them |
//! | a cancelled `start_tls` closes the connection | dropping its future changes nothing | the switch has happened |
//! | a default context writes its keys to `SSLKEYLOGFILE` | only if asked, by `key_log_file` | an environment must not open what is encrypted |
//! | a server without a protocol of the client's in ALPN goes on without | it refuses, as the standard says | both would speak past each other |
//! | keys may be encrypted, with a password | they are refused, with a text that says how to decrypt them | a password beside its key protects nothing |
//! | `server_hostname=""` turns the check of the name off | it stands for the host that is connected to; `danger_accept_any_hostname` turns it off | an empty variable must not |
//! | a child's `wait` waits for its pipes | for the exit alone | a grandchild must not hang us |
//! | a transport of a child that is dropped kills it | it runs on, unless `kill_on_drop` was asked for, and is reaped | handles are shares |
//! | a child inherits no descriptor | none for which close-on-exec is set, as it is for all of the standard library's and ours | there is no need to close what cannot be inherited |
//! | what `communicate` has read is lost when it is cancelled | it is in the readers, and another call goes on | nothing is lost silently |
//! | `communicate` gathers without a bound | the same, unless its `limit` is set | memory |
//! | a signal goes to a number, which may be somebody else's by then | to the child itself, by its descriptor or before it is reaped | the right one |
//! | cancelling | dropping: what is synchronous is done at once, the loop finishes the rest | Rust |
//! | dropping an unclosed transport closes it | dropping a handle does nothing: the loop owns the transport; only the last share of a [`StreamWriter`](crate::StreamWriter) closes | handles are shares |
//! | loops, futures and handles can be touched from any thread and check it in debug mode | they are not `Send`; a [`Remote`](crate::Remote) is | the compiler checks |
//! | signal handlers only in the main thread | in any thread's loop | there is no main thread to defend |
//! | `is_reading` stays true after an end of stream that was kept open | false | nothing is read any more |
//! | one order for timers of equal time is not promised | the order in which they were set | it costs nothing |

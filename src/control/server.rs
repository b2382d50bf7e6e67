//! The daemon's end of the control socket.
//!
//! Connections, request sizes and waiting times are bounded. A request is answered on a thread of its own: it may read a whole list
//! or wait for a resolution, and queries never wait for it.

#![allow(clippy::disallowed_methods, reason = "the socket is a file")]

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::api::{Reply, Request};

/// Connections served at once; the next waits in the kernel's queue.
const CONNECTIONS: usize = 16;
/// Longest request line in octets; a reason of an exception is the longest part of one.
const REQUEST_MAX: u64 = 64 << 10;
/// Largest body of a push in octets: some hundred million names.
pub const BODY_MAX: u64 = 4 << 30;
/// A peer that sends or takes nothing for so long is cut off.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who asks, as the kernel says (SO_PEERCRED).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Process id, where the system tells it.
    pub pid: Option<i32>,
}

/// What answers requests.
pub trait Daemon: Send + Sync + 'static {
    /// Answers one request; may block. `body` gives exactly the octets that the request announces.
    fn answer(&self, request: Request, peer: Peer, body: &mut dyn Read) -> Reply;
}

/// Binds the socket, for the owner and the group. The caller holds the state lock: a socket found at `path` is a dead one.
///
/// # Errors
/// The path cannot be bound.
pub fn bind(path: &Path) -> std::io::Result<std::os::unix::net::UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => std::fs::remove_file(path)?,
        // Never delete what is not ours; binding will say that the path is taken.
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves requests until the task is dropped.
pub async fn serve<D: Daemon>(listener: UnixListener, daemon: Arc<D>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        // Out of descriptors or a peer that is gone already: neither ends the service.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let daemon = daemon.clone();
        tokio::task::spawn_blocking(move || {
            let _place = place;
            // A peer that breaks off has nobody left to tell.
            let _ = connection(stream, &*daemon);
        });
    }
}

fn connection<D: Daemon>(stream: UnixStream, daemon: &D) -> std::io::Result<()> {
    let credentials = stream.peer_cred()?;
    let peer = Peer { uid: credentials.uid(), pid: credentials.pid() };
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut input = BufReader::new(&stream);
    let mut line = String::new();
    (&mut input).take(REQUEST_MAX).read_line(&mut line)?;
    let reply = match serde_json::from_str::<Request>(&line) {
        Err(error) => Reply::refused(format!("that is no request: {error}"), "the command line and the daemon must be of one version"),
        Ok(request) => match request.body_octets() {
            octets if octets > BODY_MAX => Reply::refused(format!("{octets} octets are more than {BODY_MAX}"), "push a smaller list"),
            octets => daemon.answer(request, peer, &mut input.take(octets)),
        },
    };
    let mut line = serde_json::to_vec(&reply)?;
    line.push(b'\n');
    (&stream).write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::super::client;
    use super::*;

    struct Echo;

    impl Daemon for Echo {
        fn answer(&self, request: Request, peer: Peer, body: &mut dyn Read) -> Reply {
            let mut read = Vec::new();
            body.read_to_end(&mut read).unwrap();
            Reply::done(format!("{request:?} by {} with {} octets", peer.uid == own_uid(), read.len()))
        }
    }

    fn own_uid() -> u32 {
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap())
    }

    struct Socket(std::path::PathBuf);

    impl Socket {
        fn new(name: &str) -> Socket {
            Socket(std::env::temp_dir().join(format!("postern-{}-{name}.sock", std::process::id())))
        }
    }

    impl Drop for Socket {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    async fn ask(socket: &Path, request: Request, body: &'static [u8]) -> Reply {
        let socket = socket.to_owned();
        tokio::task::spawn_blocking(move || client::ask_with(&socket, &request, &mut &body[..]).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn requests_are_answered_with_their_body_and_their_peer() {
        let socket = Socket::new("echo");
        let listener = UnixListener::from_std(bind(&socket.0).unwrap()).unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(Echo)));
        assert_eq!(std::fs::metadata(&socket.0).unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(ask(&socket.0, Request::Status, b"").await, Reply::done("Status by true with 0 octets"));
        let reply = ask(&socket.0, Request::push(5), b"hello").await;
        assert!(matches!(&reply, Reply::Done { said } if said.ends_with(" by true with 5 octets")), "{reply:?}");
        server.abort();
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused_and_the_next_is_served() {
        let socket = Socket::new("nonsense");
        let listener = UnixListener::from_std(bind(&socket.0).unwrap()).unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(Echo)));
        let path = socket.0.clone();
        let line = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
            stream.write_all(b"{\"ask\":\"explode\"}\n").unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            line
        });
        assert!(matches!(serde_json::from_str(&line.await.unwrap()).unwrap(), Reply::Refused { .. }));
        let reply = ask(&socket.0, Request::push(BODY_MAX + 1), b"").await;
        assert!(matches!(reply, Reply::Refused { .. }), "{reply:?}");
        assert_eq!(ask(&socket.0, Request::Reload, b"").await, Reply::done("Reload by true with 0 octets"));
        server.abort();
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_file_is_not() {
        let socket = Socket::new("dead");
        drop(std::os::unix::net::UnixListener::bind(&socket.0).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        drop(bind(&socket.0).unwrap());
        std::fs::remove_file(&socket.0).unwrap();
        std::fs::write(&socket.0, "precious").unwrap();
        assert!(bind(&socket.0).is_err());
        assert_eq!(std::fs::read_to_string(&socket.0).unwrap(), "precious");
    }
}

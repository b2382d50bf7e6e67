//! Asking the daemon, from the command line.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::api::{Reply, Request};

/// Longest wait for a reply. A push of a large list, checked and made durable on an SD card, is the slowest.
const PATIENCE: Duration = Duration::from_secs(120);
/// Largest reply read, in octets.
const REPLY_MAX: u64 = 64 << 20;

/// Why the daemon gave no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error("no daemon answers at {path}: {source}\nhint: start it with `postern serve`, or name its socket with --socket")]
    NotRunning {
        /// The socket tried.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The socket is there and not for us.
    #[error("{path} may not be opened by this user\nhint: run as the user of the daemon or as root")]
    Forbidden {
        /// The socket tried.
        path: PathBuf,
    },
    /// The connection broke.
    #[error("the daemon broke off: {0}")]
    Broken(#[from] std::io::Error),
    /// The reply is not one that this version knows.
    #[error("the daemon's reply makes no sense to this version: {0}")]
    Reply(serde_json::Error),
}

/// Sends one request and waits for its reply.
///
/// # Errors
/// [`ClientError`]; a refusal by the daemon is a [`Reply`].
pub fn ask(socket: &Path, request: &Request) -> Result<Reply, ClientError> {
    ask_with(socket, request, &mut std::io::empty())
}

/// Sends one request with the octets that belong to it.
///
/// # Errors
/// [`ClientError`]; a refusal by the daemon is a [`Reply`].
pub fn ask_with(socket: &Path, request: &Request, body: &mut dyn Read) -> Result<Reply, ClientError> {
    let mut stream = UnixStream::connect(socket).map_err(|source| match source.kind() {
        std::io::ErrorKind::PermissionDenied => ClientError::Forbidden { path: socket.to_owned() },
        _ => ClientError::NotRunning { path: socket.to_owned(), source },
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request).expect("requests are plain data");
    line.push(b'\n');
    stream.write_all(&line)?;
    // A daemon that refuses stops reading; its reply says why and matters more than the broken pipe.
    let sent = std::io::copy(body, &mut stream);
    let mut reply = String::new();
    BufReader::new(&stream).take(REPLY_MAX).read_line(&mut reply)?;
    if reply.is_empty() {
        sent?;
        return Err(ClientError::Broken(std::io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_str(&reply).map_err(ClientError::Reply)
}

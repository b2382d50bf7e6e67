//! Queries over streams: one open connection a server, pipelined, closed when idle (RFC 7766).
//!
//! Each connection is a task of its own; message IDs on it are ours, so that equal IDs of different resolutions never meet. A server
//! that closes a kept stream just as we write costs one new connection, not the query. Streams, queries on each and waiting time are
//! bounded.

#![allow(clippy::disallowed_methods, reason = "the shell owns sockets")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::{Match, Settings, answers};
use crate::resolve::ExchangeError;

/// How long a server may take to accept and the kernel to take our octets.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Octets asked of the kernel at once.
const READ_CHUNK: usize = 4096;

type Reply = Result<Vec<u8>, ExchangeError>;

/// A query on its way to a connection's task.
#[derive(Debug)]
struct Request {
    query: Vec<u8>,
    reply: oneshot::Sender<Reply>,
}

/// The TCP side of the network.
#[derive(Debug)]
pub(super) struct Tcp {
    open: Mutex<HashMap<SocketAddr, mpsc::Sender<Request>>>,
    streams: usize,
    pipeline: usize,
    idle: Duration,
    source_v4: Ipv4Addr,
    source_v6: Ipv6Addr,
}

impl Tcp {
    pub(super) fn new(settings: &Settings) -> Tcp {
        Tcp {
            open: Mutex::default(),
            streams: settings.streams,
            pipeline: settings.pipeline,
            idle: settings.stream_idle,
            source_v4: settings.source_v4,
            source_v6: settings.source_v6,
        }
    }

    pub(super) async fn exchange(&self, to: SocketAddr, query: &[u8], timeout: Duration) -> Reply {
        let exchange = async {
            loop {
                let (connection, kept) = self.connection(to)?;
                let (reply, answer) = oneshot::channel();
                let sent = connection.send(Request { query: query.to_vec(), reply }).await;
                let result =
                    if sent.is_ok() { answer.await.unwrap_or(Err(ExchangeError::Unreachable)) } else { Err(ExchangeError::Unreachable) };
                match result {
                    // A kept stream may have been closed by the server meanwhile; a fresh one decides.
                    Err(ExchangeError::Unreachable) if kept => self.forget(to, &connection),
                    result => return result,
                }
            }
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(ExchangeError::Timeout { ignored: 0 }))
    }

    /// The kept connection to a server, or a new one; whether it was kept.
    fn connection(&self, to: SocketAddr) -> Result<(mpsc::Sender<Request>, bool), ExchangeError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = open.get(&to).filter(|c| !c.is_closed()) {
            return Ok((kept.clone(), true));
        }
        if open.len() >= self.streams {
            open.retain(|_, c| !c.is_closed());
            // Nobody waits on the victim's channel but its own queries, and those it still finishes.
            if open.len() >= self.streams
                && let Some(victim) = open.keys().next().copied()
            {
                open.remove(&victim);
            }
        }
        let (sender, requests) = mpsc::channel(self.pipeline);
        let source = if to.is_ipv4() { IpAddr::V4(self.source_v4) } else { IpAddr::V6(self.source_v6) };
        tokio::spawn(run(to, source, requests, self.pipeline, self.idle));
        open.insert(to, sender.clone());
        Ok((sender, false))
    }

    fn forget(&self, to: SocketAddr, connection: &mpsc::Sender<Request>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(&to).is_some_and(|known| known.same_channel(connection)) {
            open.remove(&to);
        }
    }
}

/// One connection from its first query to its end.
async fn run(to: SocketAddr, source: IpAddr, mut requests: mpsc::Receiver<Request>, pipeline: usize, idle: Duration) {
    // Ends by dropping everybody's reply channel, which they read as Unreachable.
    let Ok(Ok(mut stream)) = tokio::time::timeout(CONNECT_TIMEOUT, connect(to, source)).await else { return };
    let mut waiting: HashMap<u16, Request> = HashMap::new();
    let mut input = Vec::with_capacity(READ_CHUNK);
    let mut closing = false;
    while !(closing && waiting.is_empty()) {
        tokio::select! {
            request = requests.recv(), if !closing && waiting.len() < pipeline => match request {
                Some(request) => {
                    if !send(&mut stream, request, &mut waiting).await {
                        return;
                    }
                }
                None => closing = true,
            },
            read = stream.read_buf(&mut input) => {
                // What comes when nobody waits is at best late. A server that goes on sending would hold the stream open for ever.
                if !matches!(read, Ok(1..)) || waiting.is_empty() {
                    return;
                }
                while let Some(frame) = take_frame(&mut input) {
                    deliver(frame, &mut waiting);
                }
            }
            () = tokio::time::sleep(idle) => return,
        }
        // Those who gave up free their place.
        waiting.retain(|_, request| !request.reply.is_closed());
    }
}

async fn connect(to: SocketAddr, source: IpAddr) -> std::io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if !source.is_unspecified() {
        socket.bind((source, 0).into())?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Writes one query under an ID that is free on this connection; `false` where the stream is broken.
async fn send(stream: &mut TcpStream, request: Request, waiting: &mut HashMap<u16, Request>) -> bool {
    let id = loop {
        let Ok(random) = getrandom::u32() else { return false };
        if !waiting.contains_key(&(random as u16)) {
            break random as u16;
        }
    };
    let Ok(length) = u16::try_from(request.query.len()) else { return true };
    if request.query.len() < 2 {
        return true;
    }
    let frame = [&length.to_be_bytes()[..], &id.to_be_bytes(), &request.query[2..]].concat();
    waiting.insert(id, request);
    matches!(tokio::time::timeout(CONNECT_TIMEOUT, stream.write_all(&frame)).await, Ok(Ok(())))
}

/// Takes the first whole message off the input.
fn take_frame(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes(*input.first_chunk::<2>()?));
    if input.len() < 2 + length {
        return None;
    }
    let rest = input.split_off(2 + length);
    let mut frame = std::mem::replace(input, rest);
    frame.drain(..2);
    Some(frame)
}

fn deliver(mut frame: Vec<u8>, waiting: &mut HashMap<u16, Request>) {
    let Some(id) = frame.first_chunk::<2>().map(|id| u16::from_be_bytes(*id)) else { return };
    let Some(request) = waiting.get(&id) else { return };
    let result = match answers(&request.query, &frame) {
        Match::Yes => {
            frame[..2].copy_from_slice(&request.query[..2]);
            Ok(frame)
        }
        Match::Case => Err(ExchangeError::CaseMismatch),
        Match::No => return,
    };
    if let Some(request) = waiting.remove(&id) {
        // The asker may have given up; then nobody misses it.
        let _ = request.reply.send(result);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;

    use super::*;
    use crate::outbound::Network;
    use crate::resolve::{Exchange, Transport};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn query(id: u8, label: u8) -> Vec<u8> {
        [&[0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, label][..], b"\x02ex\0\0\x01\0\x01"].concat()
    }

    async fn read_query(stream: &mut TcpStream) -> Option<Vec<u8>> {
        let length = stream.read_u16().await.ok()?;
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await.ok()?;
        Some(query)
    }

    async fn write_reply(stream: &mut TcpStream, mut query: Vec<u8>) {
        query[2] |= 0x80;
        stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat()).await.unwrap();
    }

    /// A server that answers `batch` queries at a time in reverse order and closes after `last`; counts its connections.
    async fn server(batch: usize, last: usize) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let mut served = 0;
                while served < last {
                    let mut queries = Vec::new();
                    for _ in 0..batch {
                        let Some(query) = read_query(&mut stream).await else { break };
                        queries.push(query);
                    }
                    served += queries.len().max(1);
                    for query in queries.into_iter().rev() {
                        write_reply(&mut stream, query).await;
                    }
                }
            }
        });
        (to, connections)
    }

    /// RFC 7766 section 6.2.1.1 and 7: pipelined, answered out of order, over one connection, whatever IDs the askers chose.
    #[tokio::test]
    async fn queries_share_a_stream_and_get_their_own_replies() {
        let (to, connections) = server(3, usize::MAX).await;
        let network = Network::new(Settings::default());
        let queries = [query(7, b'a'), query(7, b'b'), query(8, b'c')];
        let ask = |i: usize| network.exchange(to, Transport::Tcp, &queries[i], PATIENCE);
        let replies = tokio::join!(ask(0), ask(1), ask(2));
        for (reply, query) in [replies.0, replies.1, replies.2].into_iter().zip(&queries) {
            let reply = reply.unwrap();
            assert_eq!((&reply[..2], &reply[12..]), (&query[..2], &query[12..]));
        }
        assert_eq!(connections.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_stream_that_the_server_closed_costs_a_new_one_not_the_query() {
        let (to, connections) = server(1, 1).await;
        let network = Network::new(Settings::default());
        for id in 0..5 {
            assert!(network.exchange(to, Transport::Tcp, &query(id, b'a'), PATIENCE).await.is_ok());
        }
        assert_eq!(connections.load(Ordering::Relaxed), 5);
    }

    #[tokio::test]
    async fn nobody_listening_is_unreachable_and_silence_times_out() {
        let network = Network::new(Settings::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let silent = network.exchange(to, Transport::Tcp, &query(1, b'a'), Duration::from_millis(100)).await;
        assert_eq!(silent, Err(ExchangeError::Timeout { ignored: 0 }));
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(network.exchange(closed, Transport::Tcp, &query(1, b'a'), PATIENCE).await, Err(ExchangeError::Unreachable));
    }

    #[tokio::test]
    async fn what_nobody_asked_for_closes_the_stream() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let network = Network::new(Settings { stream_idle: Duration::from_secs(86_400), ..Settings::default() });
        let (answered, was_answered) = oneshot::channel();
        let client = async {
            assert!(network.exchange(to, Transport::Tcp, &query(1, b'a'), PATIENCE).await.is_ok());
            answered.send(()).unwrap();
        };
        let server = async {
            let mut stream = listener.accept().await.unwrap().0;
            let query = read_query(&mut stream).await.unwrap();
            write_reply(&mut stream, query.clone()).await;
            was_answered.await.unwrap();
            write_reply(&mut stream, query).await;
            assert_eq!(read_query(&mut stream).await, None);
        };
        tokio::join!(client, server);
    }

    #[tokio::test]
    async fn open_streams_are_bounded() {
        let network = Network::new(Settings { streams: 2, ..Settings::default() });
        for _ in 0..5 {
            let (to, _) = server(1, usize::MAX).await;
            assert!(network.exchange(to, Transport::Tcp, &query(1, b'a'), PATIENCE).await.is_ok());
        }
        assert!(network.tcp.open.lock().unwrap().len() <= 2);
    }
}

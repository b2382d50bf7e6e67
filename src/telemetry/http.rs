//! The metrics endpoint: `/metrics`, `/healthz` and `/readyz` over HTTP/1.1, and nothing else.
//!
//! Small on purpose, and bounded at every turn: so many connections at once, so many bytes of a request, so long for all of it; one
//! request a connection, no body is read (RFC 9112, RFC 9110 section 15). It listens on loopback unless told otherwise; who may scrape
//! from elsewhere is an address list. Not done: TLS and authentication; put a reverse proxy before it where the network is not trusted.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Metrics;

/// Connections served at once; a further one waits in the kernel's queue. Prometheus uses one.
pub const CONNECTIONS: usize = 16;
/// Longest request head. Prometheus sends about 300 bytes.
pub const HEAD_BYTES: usize = 8 * 1024;
/// Longest time for one connection, from accept to the last byte.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after a failed accept, so that running out of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is wrong, one sentence each; empty when queries are answered as configured.
pub type Readiness = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// Who may ask, by address of the connection.
pub type Admission = Box<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// What the endpoint shows.
pub struct Site {
    /// The metrics.
    pub metrics: Metrics,
    /// Asked by `/readyz`.
    pub readiness: Readiness,
    /// Loopback is always admitted; everybody else is asked for here.
    pub admission: Admission,
}

/// Serves `site` on `listener` until the task is dropped.
pub async fn serve(listener: TcpListener, site: Arc<Site>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let slot = slots.clone().acquire_owned().await.expect("invariant: the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => {
                let site = site.clone();
                tokio::spawn(async move {
                    // A peer that is slow or goes away has only itself to tell.
                    let _ = tokio::time::timeout(PATIENCE, connection(stream, peer.ip(), &site)).await;
                    drop(slot);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(mut stream: TcpStream, peer: IpAddr, site: &Site) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    let answer = loop {
        if let Some(request) = parse(&head) {
            break match request {
                Ok(request) => respond(&request, peer, site),
                Err(status) => Answer::text(status, format!("{}\n", status.1)),
            };
        }
        let mut chunk = [0; 1024];
        match stream.read(&mut chunk).await? {
            0 => return Ok(()),
            n => head.extend_from_slice(&chunk[..n]),
        }
    };
    stream.write_all(&answer.encode()).await?;
    stream.shutdown().await
}

type StatusCode = (u16, &'static str);
const OK: StatusCode = (200, "OK");
const BAD_REQUEST: StatusCode = (400, "Bad Request");
const FORBIDDEN: StatusCode = (403, "Forbidden");
const NOT_FOUND: StatusCode = (404, "Not Found");
const METHOD_NOT_ALLOWED: StatusCode = (405, "Method Not Allowed");
const TOO_LARGE: StatusCode = (431, "Request Header Fields Too Large");
const UNAVAILABLE: StatusCode = (503, "Service Unavailable");

#[derive(Debug, PartialEq, Eq)]
struct Request {
    head_only: bool,
    path: String,
}

/// The request at the start of `bytes`; `None` while its head is not whole.
fn parse(bytes: &[u8]) -> Option<Result<Request, StatusCode>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return (bytes.len() > HEAD_BYTES).then_some(Err(TOO_LARGE));
    };
    if end > HEAD_BYTES {
        return Some(Err(TOO_LARGE));
    }
    let line = bytes[..end].split(|&byte| byte == b'\r').next().unwrap_or_default();
    let parts: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let &[method, target, version] = parts.as_slice() else { return Some(Err(BAD_REQUEST)) };
    if !version.starts_with(b"HTTP/1.") {
        return Some(Err(BAD_REQUEST));
    }
    let head_only = match method {
        b"GET" => false,
        b"HEAD" => true,
        _ => return Some(Err(METHOD_NOT_ALLOWED)),
    };
    let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
    Some(std::str::from_utf8(path).map(|path| Request { head_only, path: path.to_owned() }).map_err(|_| BAD_REQUEST))
}

fn respond(request: &Request, peer: IpAddr, site: &Site) -> Answer {
    if !(peer.to_canonical().is_loopback() || (site.admission)(peer.to_canonical())) {
        return Answer::text(FORBIDDEN, "this address may not read metrics: see metrics.allow\n".to_owned());
    }
    let answer = match request.path.as_str() {
        "/metrics" => Answer { status: OK, kind: prometheus::TEXT_FORMAT, body: site.metrics.text(), head_only: false },
        "/healthz" => Answer::text(OK, "ok\n".to_owned()),
        "/readyz" => match (site.readiness)() {
            reasons if reasons.is_empty() => Answer::text(OK, "ready\n".to_owned()),
            reasons => Answer::text(UNAVAILABLE, reasons.join("\n") + "\n"),
        },
        "/" => Answer::text(OK, "postern: /metrics /healthz /readyz\n".to_owned()),
        _ => Answer::text(NOT_FOUND, "not here: /metrics /healthz /readyz\n".to_owned()),
    };
    Answer { head_only: request.head_only, ..answer }
}

struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: String,
    head_only: bool,
}

impl Answer {
    fn text(status: StatusCode, body: String) -> Answer {
        Answer { status, kind: "text/plain; charset=utf-8", body, head_only: false }
    }

    fn encode(&self) -> Vec<u8> {
        let allow = if self.status == METHOD_NOT_ALLOWED { "Allow: GET, HEAD\r\n" } else { "" };
        let mut bytes = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Cache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            self.status.0,
            self.status.1,
            self.kind,
            self.body.len()
        )
        .into_bytes();
        if !self.head_only {
            bytes.extend_from_slice(self.body.as_bytes());
        }
        bytes
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "loopback sockets")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn start(ready: bool) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let readiness: Readiness = Box::new(move || if ready { Vec::new() } else { vec!["nothing listens".to_owned()] });
        let site = Site { metrics: Metrics::new(), readiness, admission: Box::new(|_| false) };
        tokio::spawn(serve(listener, Arc::new(site)));
        address
    }

    async fn ask(address: std::net::SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A refusal may come before the request is read whole.
        let _ = stream.write_all(request).await;
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        String::from_utf8(reply).unwrap()
    }

    #[tokio::test]
    async fn the_three_pages_are_there_and_no_other() {
        let address = start(true).await;
        let metrics = ask(address, b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n") && metrics.contains("\npostern_queries_total{"));
        let length: usize = metrics.split("Content-Length: ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap();
        assert_eq!(metrics.split_once("\r\n\r\n").unwrap().1.len(), length);
        assert!(ask(address, b"GET /healthz HTTP/1.0\r\n\r\n").await.ends_with("\r\n\r\nok\n"));
        assert!(ask(address, b"HEAD /healthz HTTP/1.1\r\n\r\n").await.ends_with("\r\n\r\n"));
        assert!(ask(address, b"GET /readyz HTTP/1.1\r\n\r\n").await.ends_with("\r\n\r\nready\n"));
        assert!(ask(address, b"GET /../etc/passwd HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        let broken = ask(start(false).await, b"GET /readyz HTTP/1.1\r\n\r\n").await;
        assert!(broken.starts_with("HTTP/1.1 503 ") && broken.ends_with("nothing listens\n"));
    }

    #[tokio::test]
    async fn other_methods_and_broken_requests_are_refused() {
        let address = start(true).await;
        for (request, status) in [
            (&b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"[..], "405"),
            (b"GET /metrics\r\n\r\n", "400"),
            (b"GET /metrics HTTP/2\r\n\r\n", "400"),
            (b"GET /\xff HTTP/1.1\r\n\r\n", "400"),
            (b"\r\n\r\n", "400"),
        ] {
            let reply = ask(address, request).await;
            assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
        }
    }

    #[tokio::test]
    async fn a_request_without_end_is_cut_off() {
        let reply = ask(start(true).await, &vec![b'a'; HEAD_BYTES + 4096]).await;
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 431 "), "{reply}");
    }

    #[tokio::test]
    async fn silent_connections_do_not_keep_others_out_for_ever() {
        let address = start(true).await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        // With every task waiting, the paused clock runs on to the end of their patience.
        tokio::time::pause();
        assert!(ask(address, b"GET /healthz HTTP/1.1\r\n\r\n").await.ends_with("ok\n"));
    }

    #[test]
    fn only_loopback_is_admitted_by_itself() {
        let site =
            Site { metrics: Metrics::new(), readiness: Box::new(Vec::new), admission: Box::new(|ip| ip == IpAddr::from([192, 0, 2, 7])) };
        let request = Request { head_only: false, path: "/healthz".to_owned() };
        for (peer, status) in
            [("127.0.0.9", 200), ("::1", 200), ("::ffff:127.0.0.1", 200), ("192.0.2.7", 200), ("::ffff:192.0.2.7", 200), ("192.0.2.8", 403)]
        {
            assert_eq!(respond(&request, peer.parse().unwrap(), &site).status.0, status, "{peer}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_a_request_or_are_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let mut whole = bytes.clone();
            whole.extend_from_slice(b"\r\n\r\n");
            prop_assert!(parse(&whole).is_some());
        }
    }
}

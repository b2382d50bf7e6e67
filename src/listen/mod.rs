//! The way in: sockets, worker threads and streams around one [`Service`].
//!
//! [`service`] is what every transport calls; [`worker`] is a thread with a UDP socket of its own and its batches, [`stream`] is DNS
//! over TCP on tokio. [`policy`] is how names are judged. Binding comes first and serving later, so that privileges can be dropped
//! between. Encrypted transports are not here yet.

#![allow(clippy::disallowed_methods, reason = "the shell owns sockets")]

mod admit;
mod disk;
pub mod policy;
mod queue;
pub mod service;
pub mod stream;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;

pub use disk::PageCache;
pub use policy::{Block, Judgement, NoPolicy, Policy};
pub use service::{Answer, Packet, Resolve, Resolving, Rules, Service, Targets};

use crate::sys::{self, UdpOptions};
use crate::telemetry::Metrics;
use queue::Places;

/// Ports tried where the system chooses.
const PORT_ATTEMPTS: usize = 16;

/// How many threads, sockets and queries there are.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Worker threads, each with a UDP socket on each address; 0 for one a CPU. Default 0.
    pub workers: usize,
    /// Pin each worker to a CPU. Default off: it helps a machine that does nothing else, and hurts one that does.
    pub pin: bool,
    /// Options of the UDP sockets.
    pub udp: UdpOptions,
    /// Queries over UDP that wait or are being resolved. Default 4096.
    pub resolving: usize,
    /// Limits of streams.
    pub streams: stream::Limits,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { workers: 0, pin: false, udp: UdpOptions::default(), resolving: 4096, streams: stream::Limits::default() }
    }
}

/// Sockets of one address.
struct BoundAddress {
    address: SocketAddr,
    udp: Vec<UdpSocket>,
    tcp: TcpListener,
}

/// Sockets that nobody reads yet.
pub struct Bound {
    settings: Settings,
    addresses: Vec<BoundAddress>,
}

impl Bound {
    /// Opens the sockets of every address, UDP and TCP; all or none.
    ///
    /// # Errors
    /// The first address that cannot be had, and what the system says of it.
    pub fn open(addresses: &[SocketAddr], settings: Settings) -> Result<Bound, (SocketAddr, io::Error)> {
        let open = |address: &SocketAddr| open(*address, &settings).map_err(|error| (*address, error));
        let addresses = addresses.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Bound { settings, addresses })
    }

    /// The addresses in use, port 0 replaced by the one that the system chose.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.addresses.iter().map(|bound| bound.address).collect()
    }

    /// Starts the workers and accepts streams. Tasks run on `tasks`.
    ///
    /// # Errors
    /// A thread that cannot be started, or a listener that the runtime does not take.
    pub fn serve(self, service: Arc<Service>, metrics: Metrics, tasks: Handle) -> io::Result<Listeners> {
        let places = Arc::new(Places::new(self.settings.resolving));
        let streams = Arc::new(stream::Streams::new(self.settings.streams.clone(), places.clone()));
        let mut listeners = Listeners { service, metrics, tasks, settings: self.settings, places, streams, running: Vec::new() };
        for bound in self.addresses {
            let running = listeners.start(bound)?;
            listeners.running.push(running);
        }
        Ok(listeners)
    }
}

/// Opens the sockets of one address. Where the system chooses the port it chooses one of TCP, which somebody may have for UDP: then the
/// next is tried.
fn open(address: SocketAddr, settings: &Settings) -> io::Result<BoundAddress> {
    for _ in 1..PORT_ATTEMPTS {
        match open_once(address, settings) {
            Err(error) if address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
    open_once(address, settings)
}

fn open_once(address: SocketAddr, settings: &Settings) -> io::Result<BoundAddress> {
    let workers = match settings.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let tcp = sys::bind_tcp(address)?;
    let address = tcp.local_addr()?;
    // Not even a socket that would share the port: the kernel would give part of our clients to whoever has it.
    sys::probe_udp(address)?;
    let udp = (0..workers).map(|_| sys::bind_udp(address, &settings.udp)).collect::<io::Result<_>>()?;
    Ok(BoundAddress { address, udp, tcp })
}

/// One address being served.
struct Running {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
    accepting: tokio::task::JoinHandle<()>,
}

/// Everything that is being served. Dropping it does not stop it; [`Listeners::stop`] does.
pub struct Listeners {
    service: Arc<Service>,
    metrics: Metrics,
    tasks: Handle,
    settings: Settings,
    places: Arc<Places>,
    streams: Arc<stream::Streams>,
    running: Vec<Running>,
}

impl Listeners {
    /// The addresses being served.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.running.iter().map(|running| running.address).collect()
    }

    /// Worker threads that are running.
    pub fn workers(&self) -> usize {
        self.running.iter().map(|running| running.workers.len()).sum()
    }

    /// A view on queries that wait or are being resolved, and on open streams, for the metrics.
    pub fn load(&self) -> impl Fn() -> (usize, usize) + Send + Sync + 'static {
        let (places, streams) = (self.places.clone(), self.streams.clone());
        move || (places.taken(), streams.open())
    }

    /// Serves exactly `addresses` from now on. Sockets that stay are not touched; new ones are opened before old ones are closed.
    ///
    /// # Errors
    /// The first address that cannot be had; nothing has changed then.
    pub async fn reconfigure(&mut self, addresses: &[SocketAddr]) -> Result<(), (SocketAddr, io::Error)> {
        let known = |address: &SocketAddr| self.running.iter().any(|running| running.address == *address);
        let new: Vec<SocketAddr> = addresses.iter().copied().filter(|address| !known(address)).collect();
        let bound = Bound::open(&new, self.settings.clone())?;
        for bound in bound.addresses {
            let address = bound.address;
            let running = self.start(bound).map_err(|error| (address, error))?;
            self.running.push(running);
        }
        let (stay, go) = std::mem::take(&mut self.running).into_iter().partition(|running| {
            addresses.contains(&running.address)
                || !new.is_empty() && addresses.iter().any(|a| a.port() == 0 && a.ip() == running.address.ip())
        });
        self.running = stay;
        end(go).await;
        Ok(())
    }

    /// Changes the limits of streams; open ones keep theirs.
    pub fn limit_streams(&self, limits: stream::Limits) {
        self.streams.limit(limits);
    }

    /// Stops reading, gives what is being resolved up to `drain` to be answered, and closes.
    pub async fn stop(self, drain: Duration) {
        end(self.running).await;
        self.streams.close_idle();
        let drained = async {
            while self.places.taken() > 0 || self.streams.open() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // What has not been answered by then is lost; its client asks again.
        let _ = tokio::time::timeout(drain, drained).await;
        self.streams.close_all();
    }

    fn start(&self, bound: BoundAddress) -> io::Result<Running> {
        let stop = Arc::new(AtomicBool::new(false));
        let _runtime = self.tasks.enter();
        let listener = tokio::net::TcpListener::from_std(bound.tcp)?;
        let accepting = self.tasks.spawn(stream::accept(listener, self.service.clone(), self.streams.clone()));
        let mut workers = Vec::new();
        for (cpu, socket) in bound.udp.into_iter().enumerate() {
            let worker = worker::Worker {
                service: self.service.clone(),
                socket: Arc::new(socket),
                places: self.places.clone(),
                tasks: self.tasks.clone(),
                stop: stop.clone(),
                counters: self.metrics.worker(),
            };
            let pin = self.settings.pin;
            let run = move || {
                // A CPU that may not be had is no reason not to serve.
                #[cfg(target_os = "linux")]
                let _ = pin.then(|| sys::linux::process::pin_to_cpu(cpu));
                #[cfg(not(target_os = "linux"))]
                let _ = (pin, cpu);
                worker.run();
            };
            workers.push(std::thread::Builder::new().name(format!("udp-{cpu}")).spawn(run)?);
        }
        Ok(Running { address: bound.address, stop, workers, accepting })
    }
}

/// Ends workers and listeners; queries already read are still being answered by their tasks.
async fn end(running: Vec<Running>) {
    for running in &running {
        running.stop.store(true, Ordering::Relaxed);
        running.accepting.abort();
    }
    let join = move || running.into_iter().flat_map(|running| running.workers).for_each(|worker| drop(worker.join()));
    // A worker notices within the wait of its socket.
    let _ = tokio::task::spawn_blocking(join).await;
}

#[cfg(test)]
mod tests;

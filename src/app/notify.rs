//! Telling systemd how we are (sd_notify): one datagram to $NOTIFY_SOCKET, nothing without it.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The supervisor, if there is one.
#[derive(Debug)]
pub struct Supervisor {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Reads $NOTIFY_SOCKET and $WATCHDOG_USEC.
    pub fn find(env: super::place::Environment<'_>) -> Supervisor {
        let address = env("NOTIFY_SOCKET").and_then(|path| match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(path).ok(),
        });
        let to = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        let watchdog = env("WATCHDOG_USEC").and_then(|usec| usec.parse().ok()).filter(|&usec| usec > 0).map(Duration::from_micros);
        Supervisor { to, watchdog }
    }

    fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.to {
            // A supervisor that does not listen changes nothing about our duty.
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }

    /// Answers are given from now on; `status` is shown by systemctl.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// A reload begins, at this monotonic time in microseconds; [`Supervisor::ready`] ends it.
    pub fn reloading(&self, monotonic_usec: u64) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={monotonic_usec}"));
    }

    /// The end begins.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// We are alive.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// How often [`Supervisor::alive`] is to be called: twice in the time that the supervisor waits.
    pub fn watchdog(&self) -> Option<Duration> {
        self.to.as_ref().and(self.watchdog).map(|limit| limit / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supervisor_hears_that_we_are_ready() {
        let path = std::env::temp_dir().join(format!("postern-notify-{}.sock", std::process::id()));
        let hear = UnixDatagram::bind(&path).unwrap();
        let told = path.display().to_string();
        let supervisor = Supervisor::find(&|name| match name {
            "NOTIFY_SOCKET" => Some(told.clone()),
            "WATCHDOG_USEC" => Some("3000000".into()),
            _ => None,
        });
        assert_eq!(supervisor.watchdog(), Some(Duration::from_millis(1500)));
        supervisor.ready("answering");
        let mut buffer = [0; 64];
        let length = hear.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\nSTATUS=answering");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn without_a_supervisor_nothing_is_told() {
        let alone = Supervisor::find(&|_| None);
        alone.ready("nobody hears");
        assert_eq!(alone.watchdog(), None);
    }
}

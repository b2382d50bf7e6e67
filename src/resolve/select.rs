//! Which server to ask next, and how long to wait for it: round-trip times, silence, lameness, EDNS and 0x20 memory, by address.
//!
//! RFC 1034 section 5.3.3 ("the best server"), RFC 6298 section 2 (smoothed round-trip time), RFC 6891 section 6.2.2 (servers without
//! EDNS). A server is never given up for good: silence only moves it back in the order for a while, so that a link that comes back is
//! used within seconds. The table is bounded; the oldest entries leave first.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::dice::Dice;
use crate::wire::Name;

/// Servers remembered; at some 200 octets each about 4 MB. A busy resolver of a country talks to fewer.
const MAX_SERVERS: usize = 20_000;
/// Pairs of server and zone remembered as lame.
const MAX_LAME: usize = 4_096;
/// How long lameness is remembered. Lame servers are asked last, so a repaired one is only slow to come back.
const LAME_FOR: Duration = Duration::from_secs(300);
/// How long silence counts against a server: short, because a dead link must be used again within 10 s of its return.
const SILENT_FOR: Duration = Duration::from_secs(8);
/// How long it is remembered that a server knows no EDNS or does not keep the case of a question.
const QUIRK_FOR: Duration = Duration::from_secs(900);
/// Servers whose times differ by less than this are equal: spread the load, learn their speed.
const BAND: Duration = Duration::from_millis(40);
/// One choice in so many takes any server, so that one that became fast is found.
const EXPLORE: usize = 24;
/// First wait for a server never asked: above the 700 ms round trip of a geostationary link.
const FIRST_TIMEOUT: Duration = Duration::from_millis(900);
/// Queries open at once to a server that stays silent: enough to notice its return, and no more however many clients wait for it.
const OPEN_TO_SILENT: u32 = 20;
/// Queries under way at once to servers that never answered yet, or are silent: half of the places that `outbound` has (1024), so that
/// whatever outsiders delegate to whatever silence, servers that answer are asked at once.
const STRANGERS: usize = 512;
/// Silence this long ago bounds nothing any more: an hour after an outage the first burst of questions is let through.
const SILENCE_AGES: Duration = Duration::from_secs(60);
/// Bounds of the wait for a server whose time is known.
const TIMEOUT_FLOOR: Duration = Duration::from_millis(250);
/// See [`TIMEOUT_FLOOR`].
const TIMEOUT_CEILING: Duration = Duration::from_secs(3);

/// Tries in a row without an answer after which a server counts as down: one lost packet says little.
const DOWN_AFTER: u32 = 2;

/// How a server has been doing, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// Smoothed round-trip time; `None` until it answered once.
    pub time: Option<Duration>,
    /// Whether it answers, by the last tries; `None` until it was asked.
    pub answers: Option<bool>,
}

/// What is known of one server.
#[derive(Debug, Clone)]
struct Server {
    /// Smoothed round-trip time and its variation; `None` until it answered once.
    time: Option<(Duration, Duration)>,
    /// Timeouts since the last answer, and when the last one was.
    silent: u32,
    silent_at: Duration,
    /// It answers EDNS queries.
    edns_works: bool,
    plain_until: Duration,
    same_case_until: Duration,
    /// Queries to it that wait for an answer.
    open: u32,
    /// Its cookie (RFC 7873).
    cookie: Option<Box<[u8]>>,
    no_cookie_until: Duration,
}

static UNKNOWN: Server = Server {
    time: None,
    silent: 0,
    silent_at: Duration::ZERO,
    edns_works: false,
    plain_until: Duration::ZERO,
    same_case_until: Duration::ZERO,
    open: 0,
    cookie: None,
    no_cookie_until: Duration::ZERO,
};

#[derive(Debug, Default)]
struct Table {
    servers: HashMap<SocketAddr, Server, ahash::RandomState>,
    order: VecDeque<SocketAddr>,
    lame: HashMap<(SocketAddr, Name), Duration, ahash::RandomState>,
    lame_order: VecDeque<(SocketAddr, Name)>,
}

/// The table of servers.
#[derive(Debug)]
pub(super) struct Servers {
    table: Mutex<Table>,
    /// Places for queries to servers that are not [`Servers::is_proven`].
    pub(super) strangers: Semaphore,
}

impl Default for Servers {
    fn default() -> Servers {
        Servers { table: Mutex::default(), strangers: Semaphore::new(STRANGERS) }
    }
}

impl Servers {
    /// The best of `candidates` for a query about `zone`; `None` when there are none.
    pub(super) fn choose(&self, candidates: &[SocketAddr], zone: &Name, now: Duration, dice: &Dice) -> Option<SocketAddr> {
        if candidates.len() <= 1 {
            return candidates.first().copied();
        }
        let costs: Vec<Duration> = {
            let table = self.table();
            candidates.iter().map(|server| table.cost(*server, zone, now)).collect()
        };
        if dice.below(EXPLORE) == 0 {
            // Exploring costs one wait at most, and never goes to a server that is silent or lame.
            let live: Vec<usize> = (0..candidates.len()).filter(|&i| costs[i] < FIRST_TIMEOUT).collect();
            if !live.is_empty() {
                return Some(candidates[live[dice.below(live.len())]]);
            }
        }
        let best = *costs.iter().min()?;
        let band: Vec<usize> = (0..candidates.len()).filter(|&i| costs[i] <= best + BAND).collect();
        Some(candidates[band[dice.below(band.len())]])
    }

    /// How long to wait for this server's answer.
    pub(super) fn timeout(&self, server: SocketAddr) -> Duration {
        let table = self.table();
        let known = table.servers.get(&server).unwrap_or(&UNKNOWN);
        let base = known.time.map_or(FIRST_TIMEOUT, |(smoothed, variation)| (smoothed + 4 * variation).max(TIMEOUT_FLOOR));
        (base * (1 << known.silent.min(4))).min(TIMEOUT_CEILING)
    }

    /// The server answered after `took`.
    pub(super) fn answered(&self, server: SocketAddr, took: Duration, edns: bool) {
        self.update(server, |s| {
            s.silent = 0;
            s.edns_works |= edns;
            s.time = Some(match s.time {
                None => (took, took / 2),
                Some((smoothed, variation)) => (smoothed * 7 / 8 + took / 8, variation * 3 / 4 + smoothed.abs_diff(took) / 4),
            });
        });
    }

    /// The server stayed silent, or the network said that it cannot be reached.
    pub(super) fn silent(&self, server: SocketAddr, now: Duration) {
        self.update(server, |s| (s.silent, s.silent_at) = (s.silent.saturating_add(1), now));
    }

    /// The server does not serve `zone`.
    pub(super) fn lame(&self, server: SocketAddr, zone: &Name, now: Duration) {
        let mut table = self.table();
        let key = (server, zone.clone());
        if table.lame.insert(key.clone(), now + LAME_FOR).is_none() {
            table.lame_order.push_back(key);
        }
        while table.lame_order.len() > MAX_LAME {
            if let Some(old) = table.lame_order.pop_front() {
                table.lame.remove(&old);
            }
        }
    }

    /// Whether it was silent lately and has not answered since.
    pub(super) fn is_silent(&self, server: SocketAddr, now: Duration) -> bool {
        self.table().servers.get(&server).is_some_and(|s| s.silent > 0 && now < s.silent_at + SILENT_FOR)
    }

    /// How it has been doing.
    pub(super) fn health(&self, server: SocketAddr) -> Health {
        let table = self.table();
        let Some(known) = table.servers.get(&server) else { return Health::default() };
        let asked = known.time.is_some() || known.silent > 0;
        Health { time: known.time.map(|(smoothed, _)| smoothed), answers: asked.then_some(known.silent < DOWN_AFTER) }
    }

    /// Whether it has answered, and has not been silent lately.
    pub(super) fn is_proven(&self, server: SocketAddr, now: Duration) -> bool {
        let table = self.table();
        table.servers.get(&server).is_some_and(|s| s.time.is_some() && (s.silent == 0 || now >= s.silent_at + SILENT_FOR))
    }

    /// Whether queries to it carry an OPT record: yes, unless it choked on one lately.
    pub(super) fn speaks_edns(&self, server: SocketAddr, now: Duration) -> bool {
        self.table().servers.get(&server).is_none_or(|s| s.plain_until <= now)
    }

    /// Whether it was silent often enough, without ever answering an EDNS query, that a plain one is worth trying.
    pub(super) fn may_choke_on_edns(&self, server: SocketAddr) -> bool {
        self.table().servers.get(&server).is_some_and(|s| !s.edns_works && s.silent >= 2)
    }

    /// It does not know EDNS.
    pub(super) fn plain(&self, server: SocketAddr, now: Duration) {
        self.update(server, |s| s.plain_until = now + QUIRK_FOR);
    }

    /// Whether it echoes the case of a question, as far as known.
    pub(super) fn keeps_case(&self, server: SocketAddr, now: Duration) -> bool {
        self.table().servers.get(&server).is_none_or(|s| s.same_case_until <= now)
    }

    /// It does not echo the case of a question.
    pub(super) fn loses_case(&self, server: SocketAddr, now: Duration) {
        self.update(server, |s| s.same_case_until = now + QUIRK_FOR);
    }

    /// Opens a query to `server`; `None` where it is silent and enough clients wait for it already. Dropping the guard closes it.
    pub(super) fn open(&self, server: SocketAddr, now: Duration) -> Option<Open<'_>> {
        let mut admitted = true;
        self.update(server, |s| {
            admitted = s.silent < 3 || s.open < OPEN_TO_SILENT || now >= s.silent_at + SILENCE_AGES;
            s.open += u32::from(admitted);
        });
        admitted.then(|| Open { servers: self, server })
    }

    /// The cookie that it gave last.
    pub(super) fn cookie(&self, server: SocketAddr) -> Option<Box<[u8]>> {
        self.table().servers.get(&server)?.cookie.clone()
    }

    /// It gave this cookie, or gives none any more.
    pub(super) fn gave_cookie(&self, server: SocketAddr, cookie: Option<Box<[u8]>>) {
        self.update(server, |s| s.cookie = cookie);
    }

    /// Whether queries to it carry a COOKIE option: yes, unless it choked on one lately.
    pub(super) fn takes_cookies(&self, server: SocketAddr, now: Duration) -> bool {
        self.table().servers.get(&server).is_none_or(|s| s.no_cookie_until <= now)
    }

    /// It knows EDNS, but not this option.
    pub(super) fn refuses_cookies(&self, server: SocketAddr, now: Duration) {
        self.update(server, |s| (s.cookie, s.no_cookie_until) = (None, now + QUIRK_FOR));
    }

    /// Servers remembered.
    pub(super) fn len(&self) -> usize {
        self.table().servers.len()
    }

    fn update(&self, server: SocketAddr, change: impl FnOnce(&mut Server)) {
        let mut table = self.table();
        if !table.servers.contains_key(&server) {
            table.order.push_back(server);
            while table.order.len() > MAX_SERVERS {
                if let Some(old) = table.order.pop_front() {
                    table.servers.remove(&old);
                }
            }
        }
        change(table.servers.entry(server).or_insert_with(|| UNKNOWN.clone()));
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change is whole before anything can panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A query on its way to a server.
#[derive(Debug)]
pub(super) struct Open<'a> {
    servers: &'a Servers,
    server: SocketAddr,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // The entry may have left the table meanwhile.
        if let Some(server) = self.servers.table().servers.get_mut(&self.server) {
            server.open = server.open.saturating_sub(1);
        }
    }
}

impl Table {
    /// What asking this server is expected to cost in time. Unknown servers come first, to become known.
    fn cost(&self, server: SocketAddr, zone: &Name, now: Duration) -> Duration {
        let mut cost = Duration::ZERO;
        if let Some(known) = self.servers.get(&server) {
            cost = known.time.map_or(Duration::ZERO, |(smoothed, _)| smoothed);
            if known.silent > 0 && now < known.silent_at + SILENT_FOR {
                cost = (cost + FIRST_TIMEOUT) * (1 << known.silent.min(5));
            }
        }
        // The zone is only cloned for servers that are lame for something.
        if !self.lame.is_empty() && self.lame.get(&(server, zone.clone())).is_some_and(|&until| now < until) {
            cost += Duration::from_secs(60);
        }
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 53))
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn shares(servers: &Servers, candidates: &[SocketAddr], now: Duration) -> Vec<usize> {
        let dice = Dice::seeded(7);
        let mut counts = vec![0; candidates.len()];
        for _ in 0..1000 {
            let chosen = servers.choose(candidates, &Name::root(), now, &dice).unwrap();
            counts[candidates.iter().position(|c| *c == chosen).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn the_fast_server_gets_the_queries_and_the_slow_one_is_still_tried() {
        let servers = Servers::default();
        let (fast, slow) = (server(1), server(2));
        servers.answered(fast, ms(10), true);
        servers.answered(slow, ms(200), true);
        let counts = shares(&servers, &[fast, slow], ms(0));
        assert!(counts[0] > 950 && counts[1] > 5, "{counts:?}");
    }

    #[test]
    fn a_silent_server_waits_at_the_back_and_comes_again_soon() {
        let servers = Servers::default();
        servers.answered(server(2), ms(30), true);
        servers.silent(server(1), ms(0));
        assert_eq!(shares(&servers, &[server(1), server(2)], ms(100))[0], 0);
        assert!(shares(&servers, &[server(1), server(2)], SILENT_FOR + ms(1))[0] > 100);
        assert_eq!(servers.choose(&[server(1)], &Name::root(), ms(100), &Dice::seeded(1)), Some(server(1)));
    }

    #[test]
    fn a_lame_server_is_asked_last_for_its_zone_only() {
        let servers = Servers::default();
        let zone: Name = "post.example".parse().unwrap();
        servers.lame(server(1), &zone, ms(0));
        let pick = |zone: &Name| -> Vec<SocketAddr> {
            (0..50).map(|i| servers.choose(&[server(1), server(2)], zone, ms(1), &Dice::seeded(i)).unwrap()).collect()
        };
        assert!(pick(&zone).iter().all(|s| *s == server(2)));
        assert!(pick(&Name::root()).contains(&server(1)));
    }

    /// RFC 6298 section 5.5: the timer backs off; it stays within its bounds.
    #[test]
    fn waits_grow_with_silence_and_shrink_with_answers() {
        let servers = Servers::default();
        assert_eq!(servers.timeout(server(1)), FIRST_TIMEOUT);
        (0..9).for_each(|_| servers.silent(server(1), ms(0)));
        assert_eq!(servers.timeout(server(1)), TIMEOUT_CEILING);
        (0..20).for_each(|_| servers.answered(server(1), ms(5), true));
        assert_eq!(servers.timeout(server(1)), TIMEOUT_FLOOR);
    }

    #[test]
    fn a_server_is_down_after_two_silences_in_a_row_and_up_at_its_first_answer() {
        let servers = Servers::default();
        assert_eq!(servers.health(server(1)), Health::default());
        servers.silent(server(1), ms(0));
        assert_eq!(servers.health(server(1)), Health { time: None, answers: Some(true) });
        servers.silent(server(1), ms(0));
        assert_eq!(servers.health(server(1)).answers, Some(false));
        servers.answered(server(1), ms(30), true);
        assert_eq!(servers.health(server(1)), Health { time: Some(ms(30)), answers: Some(true) });
    }

    #[test]
    fn few_queries_at_once_wait_for_a_silent_server() {
        let servers = Servers::default();
        let live: Vec<_> = (0..100).filter_map(|_| servers.open(server(1), ms(0))).collect();
        assert_eq!(live.len(), 100);
        drop(live);
        (0..3).for_each(|_| servers.silent(server(1), ms(0)));
        let waiting: Vec<_> = (0..100).filter_map(|_| servers.open(server(1), ms(0))).collect();
        assert_eq!(waiting.len(), OPEN_TO_SILENT as usize);
        drop(waiting);
        assert!(servers.open(server(1), ms(0)).is_some());
        let later: Vec<_> = (0..100).filter_map(|_| servers.open(server(1), SILENCE_AGES)).collect();
        assert_eq!(later.len(), 100);
    }

    #[test]
    fn who_answers_is_proven_until_it_is_silent() {
        let servers = Servers::default();
        assert!(!servers.is_proven(server(1), ms(0)));
        servers.answered(server(1), ms(10), true);
        assert!(servers.is_proven(server(1), ms(0)));
        servers.silent(server(1), ms(100));
        assert!(!servers.is_proven(server(1), ms(200)));
        assert!(servers.is_proven(server(1), SILENT_FOR + ms(100)));
    }

    #[test]
    fn the_table_is_bounded() {
        let servers = Servers::default();
        for i in 0..(MAX_SERVERS as u32 + 100) {
            servers.answered(SocketAddr::from((i.to_be_bytes(), 53)), ms(1), true);
        }
        assert_eq!(servers.len(), MAX_SERVERS);
    }
}

//! Iteration: from the closest known zone cut down to the servers that know (RFC 1034 section 5.3.3).
//!
//! The parent's NS RRset leads the way, the child's is never believed for it; a cut is only ever entered downwards, towards the name.
//! One step of the walk asks the servers of one zone until one of them gives something to go on with.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::ask::NoAnswer;
use super::qmin::Minimiser;
use super::scrub::{self, Class, Mode, Reachable};
use super::settings::{Route, RouteKind, Settings};
use super::store::{self, Found, Link};
use super::task::{Failure, Task, Trace};
use super::{Clock, Exchange, Resolver, prime, rebinding, route};
use crate::cache::rrset::{Data, Delegation, Entry, Key, NameServer, Trust};
use crate::wire::{Name, Question, Rcode, Rtype};

/// Servers asked for one question in one zone, retries included. Thirteen silent servers with two addresses each would else cost a
/// client's whole budget in one place.
const ATTEMPTS_PER_ZONE: usize = 32;

/// A remembered cut of at least this age is asked for again at its parent when all its servers fail, for the zone may have moved. A
/// young one is not, so that a dead zone with many names costs its parent one query in this time.
const CUT_IN_DOUBT: Duration = Duration::from_secs(30);

/// A zone cut in use.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    zone: Name,
    servers: Vec<NameServer>,
    /// Addresses of a stub route, used instead of `servers`.
    direct: Vec<SocketAddr>,
    /// When the cut expires; no cut below it lives longer.
    until: Duration,
    /// When the parent named these servers; `None` where no parent did, or where it has just been asked.
    learnt: Option<Duration>,
}

/// One address that may be asked.
#[derive(Debug)]
struct Target {
    address: SocketAddr,
    tries: u8,
    done: bool,
}

/// Whether a server of `zone` may be asked at `address`. Addresses that public names must not point to are no name servers of public
/// zones either: strangers would choose who inside gets packets of ours. The root's are the operator's to say.
fn may_ask(settings: &Settings, zone: &Name, address: IpAddr) -> bool {
    let reachable = Reachable { ipv4: settings.ipv4, ipv6: settings.ipv6, loopback: settings.allow_loopback_upstream };
    let led_inside = || !zone.is_root() && rebinding::is_private(settings, address) && !rebinding::is_inside(settings, zone);
    reachable.allows(address) && (address.is_loopback() || !led_inside())
}

impl<E: Exchange, C: Clock> Resolver<E, C> {
    /// Resolves one question from the closest known cut on, or from `stub`'s servers; CNAMEs that lead out of the zone are not followed.
    pub(super) async fn iterate(&self, task: &Task, question: &Question, stub: Option<&Route>, trace: &Trace) -> Result<Found, Failure> {
        // DS is the parent's to say.
        let parent = if question.rtype == Rtype::DS { question.name.parent() } else { None };
        let mut cut = self.closest_cut(task, Some(parent.unwrap_or_else(|| question.name.clone())), stub).await?;
        let mut doubted: Option<(Cut, Failure)> = None;
        let mut minimiser = Minimiser::new(task.settings.minimise);
        // In place of a route's own servers: what the public tree says of the way there is used and not kept. Where the route is for
        // everything, the public tree is what it leads to.
        let stands_in = route::of(&task.settings, question).filter(|r| stub.is_none() && !r.zone.is_root());
        // Every turn costs a packet or ends, so the budget bounds the loop.
        loop {
            let asked = minimiser.question(&cut.zone, question);
            let whole = asked == *question;
            if !whole && let Some(denied) = self.shown_before(&asked) {
                if denied {
                    minimiser.give_up();
                }
                continue;
            }
            match self.ask_zone(task, &cut, &asked, whole, trace).await {
                Ok((Class::Referral(referral), _)) => {
                    let now = self.clock.now();
                    // Only a stub looks for cuts again, and this one is not its own.
                    if stands_in.is_none_or(|r| r.kind == RouteKind::Forward) {
                        store::store_referral(&self.cache, &cut.zone, cut.until, &referral, &task.settings, now);
                    }
                    let until = cut.until.min(now + Duration::from_secs(u64::from(referral.ttl.min(task.settings.max_ttl))));
                    let Delegation { zone, servers } = referral.delegation;
                    cut = Cut { zone, servers, direct: Vec::new(), until, learnt: None };
                    if doubted.as_ref().is_some_and(|(old, _)| same_servers(old, &cut)) {
                        break;
                    }
                }
                Ok((Class::Answer(steps) | Class::Doubtful(_, steps), from)) if whole => {
                    return Ok(Found { steps, zone: cut.zone, zone_known: true, from });
                }
                // No cut there: an empty non-terminal or a name with data. NXDOMAIN may be wrong about what is below it.
                Ok((Class::Answer(steps), from)) => {
                    let no_cut = steps.first().is_some_and(|s| s.rcode == Rcode::NOERROR && s.next.is_none());
                    let mut found = Found { steps, zone: cut.zone.clone(), zone_known: true, from };
                    route::keep_own(&task.settings, &asked, &mut found.steps);
                    if stands_in.is_none() {
                        store::store(&self.cache, found, &task.settings, self.clock.now());
                    }
                    if !no_cut {
                        minimiser.give_up();
                    }
                }
                Ok(_) => minimiser.give_up(),
                Err(failure) if whole || failure.spent => {
                    let failure = Failure { zone: Some(cut.zone.clone()), ..failure };
                    // Where all were left out because their data failed, no server failed to answer.
                    if failure.spent || doubted.is_some() || task.asks_again(question) || !self.is_in_doubt(&cut) {
                        return Err(doubted.map_or(failure, |(_, first)| first));
                    }
                    let parent = self.closest_cut(task, cut.zone.parent(), stub).await?;
                    minimiser = Minimiser::new(task.settings.minimise);
                    doubted = Some((std::mem::replace(&mut cut, parent), failure));
                }
                Err(_) => minimiser.give_up(),
            }
        }
        Err(doubted.map(|(_, failure)| failure).unwrap_or_default())
    }

    /// Whether the parent is to be asked again for a cut whose servers all failed. It then counts as young, however long it still lives.
    fn is_in_doubt(&self, cut: &Cut) -> bool {
        let now = self.clock.now();
        if cut.learnt.is_none_or(|learnt| now < learnt + CUT_IN_DOUBT) || cut.zone.is_root() {
            return false;
        }
        let key = Key::cut(&cut.zone);
        if let Some(entry) = self.cache.fresh(&key, now) {
            let left = u32::try_from(cut.until.saturating_sub(now).as_secs()).unwrap_or(u32::MAX);
            self.cache.offer(key, Entry { stored: now, ttl: left, ..(*entry).clone() });
        }
        true
    }

    /// Whether a shortened question needs no packet: its answer is remembered, so no cut is there. `true` where the name was denied.
    fn shown_before(&self, asked: &Question) -> Option<bool> {
        let now = self.clock.now();
        let limit = self.limit(&self.settings(), asked);
        let link = store::cached(&self.cache, asked, &limit, |entry| entry.remaining(now).is_some())?;
        Some(link.rcode() != Rcode::NOERROR || link.next.is_some())
    }

    /// The deepest known cut at or above `name`, or the root.
    async fn closest_cut(&self, task: &Task, name: Option<Name>, stub: Option<&Route>) -> Result<Cut, Failure> {
        let now = self.clock.now();
        for zone in name.iter().flat_map(Name::self_and_ancestors) {
            if let Some(stub) = stub.filter(|s| s.zone == zone) {
                return Ok(Cut { zone, servers: Vec::new(), direct: stub.servers.clone(), until: Duration::MAX, learnt: None });
            }
            if let Some(cut) = self.known_cut(&zone, now) {
                return Ok(cut);
            }
        }
        self.prime(task).await
    }

    fn known_cut(&self, zone: &Name, now: Duration) -> Option<Cut> {
        let entry = self.cache.fresh(&Key::cut(zone), now)?;
        let Data::Cut(cut) = &entry.data else { return None };
        let until = entry.stored + Duration::from_secs(u64::from(entry.ttl));
        Some(Cut { zone: zone.clone(), servers: cut.servers.clone(), direct: Vec::new(), until, learnt: Some(entry.stored) })
    }

    /// Learns the root's servers (RFC 9609), or makes do with the hints.
    async fn prime(&self, task: &Task) -> Result<Cut, Failure> {
        let hints = &task.settings.root_hints;
        let question = prime::question();
        let mut targets: Vec<SocketAddr> = self.addresses_of(task, &Name::root(), &prime::delegation(hints).servers);
        let mut learnt = None;
        // Three tries: priming is a courtesy, the hints do as well.
        for _ in 0..3 {
            let Some(server) = self.servers.choose(&targets, &Name::root(), self.clock.now(), &self.dice) else { break };
            match self.ask(task, server, &Name::root(), &question, 0).await {
                Ok(message) => learnt = prime::read(&message, hints),
                Err(NoAnswer::Spent) => return Err(Failure { spent: true, zone: Some(Name::root()), ..Failure::default() }),
                Err(_) => {}
            }
            if learnt.is_some() {
                break;
            }
            targets.retain(|t| *t != server);
        }
        let (delegation, ttl) = learnt.unwrap_or_else(|| (prime::delegation(hints), prime::HINTS_TTL));
        let (now, ttl) = (self.clock.now(), ttl.clamp(prime::HINTS_TTL, task.settings.max_ttl.max(prime::HINTS_TTL)));
        let servers = delegation.servers.clone();
        let entry = Entry {
            data: Data::Cut(delegation),
            trust: Trust::Authoritative,
            judged: None,
            zone: Name::root(),
            zone_known: true,
            stored: now,
            ttl,
        };
        self.cache.offer(Key::cut(&Name::root()), entry);
        Ok(Cut { zone: Name::root(), servers, direct: Vec::new(), until: now + Duration::from_secs(u64::from(ttl)), learnt: None })
    }

    /// Asks the servers of a zone until one gives an answer or a referral. A shortened question is given up at the first server that
    /// does not like it.
    async fn ask_zone(
        &self,
        task: &Task,
        cut: &Cut,
        question: &Question,
        whole: bool,
        trace: &Trace,
    ) -> Result<(Class, SocketAddr), Failure> {
        let mut addresses = cut.direct.clone();
        addresses.extend(self.addresses_of(task, &cut.zone, &cut.servers));
        let mut targets: Vec<Target> = Vec::new();
        add_targets(&mut targets, addresses);
        let mut unknown = self.unresolved(task, cut, whole);
        let mut doubtful = None;
        let mut failure = Failure::default();
        for _ in 0..ATTEMPTS_PER_ZONE {
            let usable: Vec<SocketAddr> =
                targets.iter().filter(|t| !t.done && !task.avoids(t.address, question)).map(|t| t.address).collect();
            // Whoever was silent least often goes first, and of those whose data failed least; among the rest the table of servers decides.
            let least = targets.iter().filter(|t| usable.contains(&t.address)).map(|t| t.tries).min();
            let usable: Vec<SocketAddr> =
                targets.iter().filter(|t| usable.contains(&t.address) && Some(t.tries) == least).map(|t| t.address).collect();
            let usable = least_suspect(task, usable);
            let retrying = least.is_none_or(|tries| tries > 0);
            if retrying
                && doubtful.is_none()
                && let Some((name, rtype)) = unknown.pop()
            {
                if task.budget.charge_glueless().is_ok() {
                    add_targets(&mut targets, self.lookup_addresses(task, &cut.zone, &name, rtype, trace).await);
                    continue;
                }
                unknown.clear();
                failure.spent |= usable.is_empty();
            }
            let Some(server) = self.servers.choose(&usable, &cut.zone, self.clock.now(), &self.dice) else { break };
            let target = targets.iter_mut().find(|t| t.address == server).expect("chosen from the targets");
            target.tries += 1;
            target.done = target.tries >= task.settings.limits.tries_per_server;
            match self.ask(task, server, &cut.zone, question, 0).await {
                Err(NoAnswer::Spent) => return Err(Failure { spent: true, ..failure }),
                Err(NoAnswer::Silent) => failure.silent = true,
                Err(NoAnswer::Garbled) => (failure.garbled, target.done) = (true, true),
                Ok(message) => {
                    target.done = true;
                    match scrub::classify(question, &cut.zone, &message, Mode::Iterate) {
                        class @ (Class::Answer(_) | Class::Referral(_)) => return Ok((class, server)),
                        class @ Class::Doubtful(..) => {
                            failure.lame = true;
                            doubtful.get_or_insert((class, server));
                        }
                        Class::Lame(_) => {
                            failure.lame = true;
                            self.servers.lame(server, &cut.zone, self.clock.now());
                        }
                        Class::Failed(rcode) => {
                            failure.refused = Some((server, rcode));
                            failure.ede.extend(message.edns.iter().flat_map(|e| e.extended_errors()).take(2));
                            failure.ede.truncate(4);
                        }
                        Class::Unusable => failure.garbled = true,
                    }
                    if !whole {
                        return Err(failure);
                    }
                }
            }
        }
        doubtful.ok_or(failure)
    }

    /// Addresses known for these servers: their glue, and what was resolved for their names before.
    fn addresses_of(&self, task: &Task, zone: &Name, servers: &[NameServer]) -> Vec<SocketAddr> {
        let now = self.clock.now();
        let mut found: Vec<SocketAddr> = Vec::new();
        for server in servers {
            let resolved = [Rtype::A, Rtype::AAAA].into_iter().flat_map(|rtype| self.known_addresses(&server.name, rtype, now));
            for address in server.addresses.iter().copied().chain(resolved).filter(|a| may_ask(&task.settings, zone, *a)) {
                let address = SocketAddr::new(address, task.settings.upstream_port);
                if !found.contains(&address) {
                    found.push(address);
                }
            }
        }
        found
    }

    fn known_addresses(&self, name: &Name, rtype: Rtype, now: Duration) -> Vec<IpAddr> {
        let Some(entry) = self.cache.fresh(&Key::rrset(name, rtype), now) else { return Vec::new() };
        match &entry.data {
            Data::Positive { answer, .. } => addresses(answer.iter().flat_map(|s| &s.rdatas)),
            _ => Vec::new(),
        }
    }

    /// Name servers whose addresses could be looked up, the most useful last: those without any address, then (for whole questions)
    /// those whose glue may be wrong. Looking up a name inside the zone itself would ask the same servers.
    fn unresolved(&self, task: &Task, cut: &Cut, whole: bool) -> Vec<(Name, Rtype)> {
        let wanted = |ipv4: bool| if ipv4 { task.settings.ipv4 } else { task.settings.ipv6 };
        let mut bare: Vec<&Name> = Vec::new();
        let mut glued: Vec<&Name> = Vec::new();
        for server in cut.servers.iter().filter(|s| !s.name.is_at_or_below(&cut.zone)) {
            let has_address = !self.addresses_of(task, &cut.zone, std::slice::from_ref(server)).is_empty();
            if has_address { glued.push(&server.name) } else { bare.push(&server.name) }
        }
        // A random start, so that one dead first server does not cost every query.
        if bare.len() > 1 {
            let start = self.dice.below(bare.len());
            bare.rotate_left(start);
        }
        let mut order = Vec::new();
        let lists = if whole { vec![glued, bare] } else { vec![bare] };
        for list in lists {
            for rtype in [Rtype::AAAA, Rtype::A] {
                order.extend(list.iter().filter(|_| wanted(rtype == Rtype::A)).map(|name| ((*name).clone(), rtype)));
            }
        }
        order
    }

    async fn lookup_addresses(&self, task: &Task, zone: &Name, name: &Name, rtype: Rtype, trace: &Trace) -> Vec<SocketAddr> {
        let Some(trace) = trace.deeper(name, rtype, task.settings.limits.depth) else { return Vec::new() };
        let question = Question::new(name.clone(), rtype);
        let mut sets = match self.special.answer(&task.settings, &question) {
            Some(made_here) => made_here.answer,
            // A name server's name must not be an alias (RFC 2181 section 10.3); a chain that the answer holds whole is used all the same.
            None => match self.lookup(task, &question, &trace).await {
                Ok(links) => links.iter().flat_map(Link::answer).collect(),
                Err(_) => return Vec::new(),
            },
        };
        sets.retain(|s| s.rtype == rtype);
        let found = addresses(sets.iter().flat_map(|s| &s.rdatas)).into_iter().filter(|a| may_ask(&task.settings, zone, *a));
        found.map(|a| SocketAddr::new(a, task.settings.upstream_port)).collect()
    }
}

/// Those of `servers` whose data failed least often in this resolution.
pub(super) fn least_suspect(task: &Task, mut servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if let Some(least) = servers.iter().map(|s| task.suspicion(*s)).min() {
        servers.retain(|s| task.suspicion(*s) == least);
    }
    servers
}

/// Whether the parent names the servers that it named before, with the same addresses.
fn same_servers(old: &Cut, new: &Cut) -> bool {
    old.zone == new.zone && old.servers.len() == new.servers.len() && old.servers.iter().all(|s| new.servers.contains(s))
}

fn addresses<'a>(rdatas: impl Iterator<Item = &'a Box<[u8]>>) -> Vec<IpAddr> {
    rdatas.filter_map(|r| scrub::address(r)).take(scrub::MAX_GLUE_PER_SERVER).collect()
}

fn add_targets(targets: &mut Vec<Target>, addresses: Vec<SocketAddr>) {
    for address in addresses {
        if !targets.iter().any(|t| t.address == address) {
            targets.push(Target { address, tries: 0, done: false });
        }
    }
}

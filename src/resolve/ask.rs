//! One question to one server, with the fallbacks that belong to that server alone.
//!
//! TCP when the reply is truncated (RFC 7766 section 5), no EDNS where the server chokes on it (RFC 6891 section 6.2.2), 0x20 with TCP and
//! then without (draft-vixie-dnsext-dns0x20). Which server is asked, and what the reply means, is decided elsewhere.

use std::net::SocketAddr;
use std::time::Duration;

use super::budget::Spent;
use super::task::{Contact, Task};
use super::{Clock, Exchange, ExchangeError, Resolver, Transport, cookie};
use crate::wire::message::HEADER;
use crate::wire::{Edns, Encoder, Flags, Message, Name, Question, Rcode};

/// Packets of one such question at most: UDP, with a new cookie or without, without EDNS, TCP, and one to spare.
const PACKETS: usize = 5;
/// EDNS queries that a server must leave unanswered, right after it answered a plain one, to count as one without EDNS. One may be lost.
const EDNS_SILENCES: u8 = 2;
/// How long a query to a server that is not known to answer waits until fewer of the kind are under way.
const PLACE_WAIT: Duration = Duration::from_secs(1);
/// How long a stream may take, connecting included.
const TCP_TIMEOUT: Duration = Duration::from_secs(4);

/// Why there is no reply to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// Silence, or the network said no.
    Silent,
    /// Bytes that are no message, or another one's.
    Garbled,
    /// The budget is spent.
    Spent,
}

impl From<Spent> for NoAnswer {
    fn from(_: Spent) -> NoAnswer {
        NoAnswer::Spent
    }
}

impl<E: Exchange, C: Clock> Resolver<E, C> {
    /// Asks `server` one question, with the header bits of `flags` set.
    pub(super) async fn ask(
        &self,
        task: &Task,
        server: SocketAddr,
        zone: &Name,
        question: &Question,
        flags: u16,
    ) -> Result<Message, NoAnswer> {
        let start = self.clock.now();
        let result = self.ask_with_fallbacks(task, server, question, flags).await;
        task.note(|| Contact {
            server,
            zone: zone.clone(),
            question: question.clone(),
            result: match &result {
                Ok(_) => "answered",
                Err(NoAnswer::Silent) => "silent",
                Err(NoAnswer::Garbled) => "invalid data",
                Err(NoAnswer::Spent) => "budget spent",
            },
            took: self.clock.now().saturating_sub(start),
        });
        result
    }

    async fn ask_with_fallbacks(&self, task: &Task, server: SocketAddr, question: &Question, flags: u16) -> Result<Message, NoAnswer> {
        let now = self.clock.now();
        let Some(_open) = self.servers.open(server, now) else { return Err(NoAnswer::Silent) };
        let _place = match self.servers.is_proven(server, now) {
            true => None,
            false => tokio::select! {
                place = self.servers.strangers.acquire() => place.ok(),
                () = self.clock.sleep(PLACE_WAIT) => return Err(task.budget.end().into()),
            },
        };
        let mut via = Transport::Udp;
        let mut edns = self.servers.speaks_edns(server, now);
        let mut plain_trial = edns && self.servers.may_choke_on_edns(server);
        edns &= !plain_trial;
        // What the trial brought, and the EDNS queries since that did not come back.
        let (mut plain_reply, mut edns_silences) = (None, 0);
        let mut mix_case = task.settings.case_randomisation && self.servers.keeps_case(server, now);
        let mut lost_case = false;
        let mut cookies = task.settings.cookies && self.servers.takes_cookies(server, now);
        let mut choked_on_cookie = false;
        let client_cookie = cookie::client(&self.cookie_key, server.ip());
        for _ in 0..PACKETS {
            let start = self.clock.now();
            let left = task.budget.charge_query(start)?;
            let server_cookies = cookies && edns;
            let known_cookie = if server_cookies { self.servers.cookie(server) } else { None };
            let id = self.dice.roll() as u16;
            let mut query = Encoder::new(id, Flags(flags), Some(question)).finish().bytes;
            if mix_case {
                self.mix_case(&mut query[HEADER..]);
            }
            if edns {
                query[HEADER - 1] = 1;
                let mut opt = Edns::new(true);
                if server_cookies {
                    opt.options.push(cookie::option(client_cookie, known_cookie.as_deref()));
                }
                opt.write(&mut query);
            }
            let timeout = if via == Transport::Udp { self.servers.timeout(server) } else { TCP_TIMEOUT };
            self.counters.queries.add();
            if via == Transport::Tcp {
                self.counters.tcp.add();
            }
            match self.exchange.exchange(server, via, &query, timeout.min(left)).await {
                Ok(reply) => {
                    let now = self.clock.now();
                    task.budget.charge_bytes(reply.len())?;
                    let truncated = reply.get(2).is_some_and(|flags| flags & 2 != 0);
                    if truncated && via == Transport::Udp {
                        via = Transport::Tcp;
                        continue;
                    }
                    let parsed = Message::parse(&reply).ok().filter(|m| m.id == id && !truncated);
                    self.servers.answered(server, now.saturating_sub(start), parsed.as_ref().is_some_and(|m| m.edns.is_some()));
                    let message = parsed.ok_or(NoAnswer::Garbled)?;
                    if server_cookies && via == Transport::Tcp && known_cookie.is_some() {
                        // Here it is the server itself that speaks: where it gives none, none is expected of its datagrams either.
                        if cookie::check(message.edns.as_ref(), client_cookie) == cookie::Seen::Missing {
                            self.servers.gave_cookie(server, None);
                        }
                    }
                    if server_cookies && via == Transport::Udp {
                        match cookie::check(message.edns.as_ref(), client_cookie) {
                            cookie::Seen::Good(theirs) => {
                                let again = message.rcode() == Rcode::BADCOOKIE;
                                // The same cookie refused twice would be refused a third time: the stream needs none.
                                if again && known_cookie.as_ref() == Some(&theirs) {
                                    via = Transport::Tcp;
                                }
                                self.servers.gave_cookie(server, Some(theirs));
                                if again {
                                    continue;
                                }
                            }
                            // Forged, or another machine behind the same address: over a stream nobody off the path can answer.
                            cookie::Seen::Wrong => {
                                via = Transport::Tcp;
                                continue;
                            }
                            cookie::Seen::Missing if known_cookie.is_some() => {
                                via = Transport::Tcp;
                                continue;
                            }
                            cookie::Seen::Missing => {}
                        }
                    }
                    if lost_case {
                        self.servers.loses_case(server, now);
                    }
                    // FORMERR with an OPT record: not EDNS is new to it, but the option in it.
                    if server_cookies && message.rcode() == Rcode::FORMERR && message.edns.is_some() {
                        (cookies, choked_on_cookie) = (false, true);
                        continue;
                    }
                    if choked_on_cookie && message.rcode() != Rcode::FORMERR {
                        self.servers.refuses_cookies(server, now);
                    }
                    if edns && matches!(message.rcode(), Rcode::FORMERR | Rcode::NOTIMP | Rcode::BADVERS) {
                        if message.edns.is_none() {
                            self.servers.plain(server, now);
                        }
                        edns = false;
                        continue;
                    }
                    if plain_trial {
                        // The server lives, no more: it may have been the network that was silent. Without EDNS there is no DNSSEC
                        // (RFC 4035 section 4.1), so it is asked with EDNS once more before it is held to know none.
                        (plain_trial, edns, via) = (false, true, Transport::Udp);
                        plain_reply = Some(message);
                        continue;
                    }
                    return Ok(message);
                }
                Err(ExchangeError::CaseMismatch) if mix_case => {
                    // Over a stream nobody off the path can answer in the server's place, so there the case is not needed.
                    (via, mix_case, lost_case) = (Transport::Tcp, false, true);
                }
                Err(ExchangeError::CaseMismatch) => return Err(NoAnswer::Garbled),
                Err(ExchangeError::Busy) => return Err(task.budget.end().into()),
                Err(ExchangeError::Timeout { .. } | ExchangeError::Unreachable) if lost_case && via == Transport::Tcp => {
                    via = Transport::Udp;
                }
                Err(error) => {
                    if matches!(error, ExchangeError::Timeout { .. }) {
                        self.counters.timeouts.add();
                    }
                    if let Some(plain) = plain_reply.take() {
                        edns_silences += 1;
                        if edns_silences == EDNS_SILENCES {
                            self.servers.plain(server, self.clock.now());
                            return Ok(plain);
                        }
                        plain_reply = Some(plain);
                        continue;
                    }
                    // A wait that this query's own time cut short says nothing about the server.
                    if via == Transport::Udp && timeout <= left {
                        self.servers.silent(server, self.clock.now());
                    }
                    return Err(NoAnswer::Silent);
                }
            }
        }
        Err(NoAnswer::Garbled)
    }

    /// Flips the case of the question's letters at random; every letter adds a bit that an off-path attacker must guess. One letter at
    /// least becomes a capital, because a question without any may be echoed in any case.
    fn mix_case(&self, question: &mut [u8]) {
        let length = question.iter().position(|octet| *octet == 0).unwrap_or(0);
        if !question[..length].iter().any(u8::is_ascii_lowercase) {
            return;
        }
        while !question[..length].iter().any(u8::is_ascii_uppercase) {
            self.flip_case(question);
        }
    }

    fn flip_case(&self, question: &mut [u8]) {
        let (mut at, mut bits, mut left) = (0, 0, 0);
        while question[at] != 0 {
            let length = usize::from(question[at]);
            for octet in &mut question[at + 1..=at + length] {
                if left == 0 {
                    (bits, left) = (self.dice.roll(), 64);
                }
                if octet.is_ascii_lowercase() && bits & 1 == 1 {
                    octet.make_ascii_uppercase();
                }
                (bits, left) = (bits >> 1, left - 1);
            }
            at += 1 + length;
        }
    }
}

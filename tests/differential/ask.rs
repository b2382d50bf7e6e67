//! One question as a client asks it, and what is seen of an answer.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use postern::lab::Internet;
use postern::wire::{Edns, Encoder, Flags, Message, Name, Question, Rcode, Record, Rtype, rdata};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::daemon::Dice;

/// A query is sent again after so long: a datagram may be lost where both programs and the whole internet share two processors.
const AGAIN: Duration = Duration::from_secs(10);
/// Queries sent for one question.
const TRIES: usize = 4;

/// Stands for the code of an answer that did not come.
pub const NO_ANSWER: Rcode = Rcode(0xff0);

/// A question and the bits that come with it.
#[derive(Debug, Clone)]
pub struct Ask {
    pub question: Question,
    /// The query carries an OPT record.
    pub edns: bool,
    pub dnssec_ok: bool,
    pub checking_disabled: bool,
    pub authentic_data: bool,
}

impl Ask {
    /// Questions about `internet`, each with bits of its own.
    pub fn random(internet: &Internet, seed: u64, count: usize) -> Vec<Ask> {
        let mut dice = Dice(seed.wrapping_mul(2) + 1);
        let mut bits = |question| {
            let edns = dice.below(6) > 0;
            let dnssec_ok = edns && dice.below(2) == 0;
            Ask { question, edns, dnssec_ok, checking_disabled: dice.below(5) == 0, authentic_data: dice.below(3) == 0 }
        };
        internet.random_questions(seed, count).into_iter().map(&mut bits).collect()
    }

    fn query(&self, id: u16) -> Vec<u8> {
        let flags = Flags(Flags::RD).with(Flags::AD, self.authentic_data).with(Flags::CD, self.checking_disabled);
        let mut bytes = Encoder::new(id, flags, Some(&self.question)).finish().bytes;
        if self.edns {
            Edns { udp_size: 4096, ..Edns::new(self.dnssec_ok) }.write(&mut bytes);
            bytes[11] = 1;
        }
        bytes
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.question)?;
        for (set, word) in [(!self.edns, " plain"), (self.dnssec_ok, " do"), (self.checking_disabled, " cd"), (self.authentic_data, " ad")]
        {
            f.write_str(if set { word } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for Ask {
    type Err = String;

    fn from_str(text: &str) -> Result<Ask, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [name, rtype, bits @ ..] = words.as_slice() else { return Err(format!("NAME TYPE [plain] [do] [cd] [ad], not {text:?}")) };
        let name: Name = name.parse().map_err(|e| format!("{name}: {e}"))?;
        let rtype: Rtype = rtype.parse().map_err(|_| format!("{rtype} is no type"))?;
        let has = |word| bits.contains(&word);
        Ok(Ask {
            question: Question::new(name, rtype),
            edns: !has("plain"),
            dnssec_ok: has("do"),
            checking_disabled: has("cd"),
            authentic_data: has("ad"),
        })
    }
}

/// One record as it is compared: TTLs and order say nothing.
type Datum = (Name, Rtype, Vec<u8>);

/// What is compared of an answer, and why it is so in the resolver's own words.
#[derive(Debug, Clone)]
pub struct Seen {
    pub rcode: Rcode,
    /// The header's bits but the code; TC is followed to TCP.
    pub flags: Flags,
    pub edns: Option<bool>,
    pub answer: BTreeSet<Datum>,
    /// Owners of the SOA records in the authority section.
    pub soa: BTreeSet<Name>,
    /// Whether signed NSEC or NSEC3 are in the authority section.
    pub denial: bool,
    /// DNSSEC records in a section where they were not asked for.
    pub unwanted: bool,
    pub ede: Vec<(u16, String)>,
}

impl Seen {
    fn new(message: &Message, ask: &Ask) -> Seen {
        let of = |r: &Record| (r.owner.clone(), r.rtype, rdata::canonical(r.rtype, &r.rdata));
        let covers = |r: &Record| u16::from_be_bytes([r.rdata[0], r.rdata[1]]);
        let is_denial = |r: &Record| r.rtype == Rtype::RRSIG && [Rtype::NSEC.0, Rtype::NSEC3.0].contains(&covers(r));
        let own = message.answer.iter().filter(|r| r.rtype != ask.question.rtype);
        let proof = own.chain(&message.authority).any(|r| r.rtype.is_dnssec_proof());
        Seen {
            rcode: message.rcode(),
            flags: Flags(message.flags.0 & !0xf),
            edns: message.edns.as_ref().map(|e| e.dnssec_ok),
            answer: message.answer.iter().map(of).collect(),
            soa: message.authority.iter().filter(|r| r.rtype == Rtype::SOA).map(|r| r.owner.clone()).collect(),
            denial: message.authority.iter().any(is_denial),
            unwanted: !ask.dnssec_ok && proof,
            ede: message.edns.iter().flat_map(|e| e.extended_errors()).map(|e| (e.code, e.text.into_owned())).collect(),
        }
    }

    /// What is seen where no answer comes.
    fn nothing() -> Seen {
        let nothing = Message {
            id: 0,
            flags: Flags(0),
            question: None,
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            edns: Some(Edns { rcode_high: u8::MAX, ..Edns::new(false) }),
        };
        let ask = Ask {
            question: Question::new(Name::root(), Rtype::A),
            edns: true,
            dnssec_ok: false,
            checking_disabled: false,
            authentic_data: false,
        };
        Seen::new(&nothing, &ask)
    }

    /// Names that the answer led to.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.answer.iter().map(|(owner, ..)| owner).chain(&self.soa)
    }

    /// Whether the answer section has the type asked for, at the end of the chain.
    pub fn has(&self, rtype: Rtype) -> bool {
        self.answer.iter().any(|(_, t, _)| *t == rtype)
    }

    /// An Extended DNS Error for trouble on the way (RFC 8914 sections 4.14, 4.23, 4.24), not for what was said.
    pub fn tells_of_no_answer(&self) -> bool {
        self.ede.iter().any(|(code, _)| matches!(code, 0 | 13 | 22 | 23))
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rcode)?;
        for (bit, word) in
            [(Flags::AA, "aa"), (Flags::TC, "tc"), (Flags::RD, "rd"), (Flags::RA, "ra"), (Flags::AD, "AD"), (Flags::CD, "cd")]
        {
            if self.flags.has(bit) {
                write!(f, " {word}")?;
            }
        }
        let answer: Vec<String> = self
            .answer
            .iter()
            .map(|(owner, rtype, rdata)| match *rtype {
                Rtype::CNAME | Rtype::DNAME => {
                    format!("{owner} {rtype} {}", Name::from_wire(rdata).map_or("?".into(), |n| n.to_string()))
                }
                Rtype::RRSIG => format!("{owner} RRSIG({})", Rtype(u16::from_be_bytes([rdata[0], rdata[1]]))),
                _ => format!("{owner} {rtype}"),
            })
            .collect();
        let soa: Vec<String> = self.soa.iter().map(Name::to_string).collect();
        let denial = if self.denial { " NSEC" } else { "" };
        write!(f, " [{}] soa={} {denial} ede={:?}", answer.join(", "), soa.join(" "), self.ede)
    }
}

/// A stub resolver with one socket for one server.
pub struct Client {
    server: SocketAddr,
    socket: UdpSocket,
}

impl Client {
    async fn new(server: SocketAddr) -> Client {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server).await.unwrap();
        Client { server, socket }
    }

    pub async fn both([ours, theirs]: [SocketAddr; 2]) -> [Client; 2] {
        [Client::new(ours).await, Client::new(theirs).await]
    }

    /// Asks both at the same time.
    pub async fn ask_both([ours, theirs]: &[Client; 2], ask: &Ask) -> [Seen; 2] {
        let (ours, theirs) = tokio::join!(ours.ask(ask), theirs.ask(ask));
        [ours, theirs]
    }

    async fn ask(&self, ask: &Ask) -> Seen {
        let Some(datagram) = self.over_udp(ask).await else { return Seen::nothing() };
        if !datagram.flags.has(Flags::TC) {
            return Seen::new(&datagram, ask);
        }
        let whole = self.over_tcp(ask).await;
        assert!(!whole.flags.has(Flags::TC), "{} says TC over TCP to {ask}", self.server);
        Seen::new(&whole, ask)
    }

    async fn over_udp(&self, ask: &Ask) -> Option<Message> {
        static ID: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
        let id = ID.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut buffer = vec![0; 65_535];
        for _ in 0..TRIES {
            self.socket.send(&ask.query(id)).await.unwrap();
            let answered = async {
                loop {
                    let length = self.socket.recv(&mut buffer).await.unwrap();
                    // An answer to an earlier question that was sent twice.
                    if buffer[..2] == id.to_be_bytes() {
                        return length;
                    }
                }
            };
            if let Ok(length) = tokio::time::timeout(AGAIN, answered).await {
                let message = Message::parse(&buffer[..length]);
                return Some(message.unwrap_or_else(|e| panic!("{}: {e} in the answer to {ask}", self.server)));
            }
        }
        None
    }

    async fn over_tcp(&self, ask: &Ask) -> Message {
        let mut stream = TcpStream::connect(self.server).await.unwrap();
        let query = ask.query(4711);
        stream.write_all(&[&(query.len() as u16).to_be_bytes(), &query[..]].concat()).await.unwrap();
        let mut bytes = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut bytes).await.unwrap();
        Message::parse(&bytes).unwrap_or_else(|e| panic!("{}: {e} in the answer to {ask}", self.server))
    }
}

//! Every configuration key, once: default, form, unit and reason.
//!
//! The reader (`load`) asks for keys of this table and for no others, `configs/postern.toml` and `postern config schema` are printed
//! from it, and a test holds all three together. Units stand in the name of a key, as they do in metrics.

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `true` or `false`.
    Flag,
    /// A whole number in this closed range.
    Whole(u64, u64),
    /// Text; what it may say is told by the key.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A path; a relative one starts at the folder of the configuration file. Empty means the default that the reason tells.
    Path,
    /// An address with a port, `127.0.0.1:9353` or `[::1]:9353`. Empty switches it off.
    Socket,
    /// A list of addresses, each with or without a port: `9.9.9.9`, `9.9.9.9:5353`, `2620:fe::fe`, `[2620:fe::fe]:5353`.
    Servers,
    /// A list of addresses without ports.
    Addresses,
    /// A list of networks in prefix notation, `10.0.0.0/8`.
    Networks,
    /// One domain name.
    Name,
    /// A list of domain names.
    Names,
    /// A list of records as in a zone file, `nas.example. 300 A 192.168.1.5`.
    Records,
    /// A date or a moment as in RFC 3339, `2026-12-31` or `2026-12-31T12:00:00Z`, as text.
    Moment,
}

impl Form {
    /// The form in words, for messages and `config schema`.
    pub fn words(self) -> String {
        match self {
            Form::Flag => "true or false".into(),
            Form::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Form::Text => "text".into(),
            Form::Choice(words) => words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(" or "),
            Form::Path => "a path".into(),
            Form::Socket => "an address with a port, or \"\"".into(),
            Form::Servers => "a list of addresses, each with or without a port".into(),
            Form::Addresses => "a list of addresses".into(),
            Form::Networks => "a list of networks such as \"10.0.0.0/8\"".into(),
            Form::Name => "a domain name".into(),
            Form::Names => "a list of domain names".into(),
            Form::Records => "a list of records such as \"nas.example. 300 A 192.168.1.5\"".into(),
            Form::Moment => "a date such as \"2026-12-31\", or a moment such as \"2026-12-31T12:00:00Z\"".into(),
        }
    }
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Section and name, joined by a dot; top-level keys have no section.
    pub path: &'static str,
    /// Default as TOML; for keys of a repeated section an example value.
    pub default: &'static str,
    /// What it must look like.
    pub form: Form,
    /// Unit of the number; empty where the value has none.
    pub unit: &'static str,
    /// Why it exists and why the default is what it is.
    pub why: &'static str,
    /// Whether a reload can change it; otherwise a restart is needed and a reload that changes it is refused.
    pub live: bool,
}

impl Key {
    /// Section of the key; empty at the top.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Name of the key inside its section.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    const fn fixed(mut self) -> Key {
        self.live = false;
        self
    }

    const fn in_unit(mut self, unit: &'static str) -> Key {
        self.unit = unit;
        self
    }
}

/// Sections that may be written several times, as `[[forward]]`; their keys have no default.
pub const REPEATED: &[&str] = &["forward", "stub", "nta", "rpz"];

const fn key(path: &'static str, default: &'static str, form: Form, why: &'static str) -> Key {
    Key { path, default, form, unit: "", why, live: true }
}

/// All keys, in the order in which the example file shows them.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("lan", "false", Form::Flag,
        "Serve the local network: port 53 on all addresses, for the clients that [access] allows. Off: loopback only.").fixed(),
    key("state_dir", "\"\"", Form::Path,
        "Folder for the lists, exceptions, trust anchors and the lock (mode 0700). Empty: $STATE_DIRECTORY, /var/lib/postern for root, \
         else $XDG_STATE_HOME/postern.").fixed(),
    key("user", "\"\"", Form::Text,
        "User to become once the sockets are bound, keeping only CAP_NET_BIND_SERVICE. Empty: stay who we are.").fixed(),
    key("workers", "0", Form::Whole(0, 256),
        "Threads that answer over UDP. 0: one for each processor.").in_unit("threads").fixed(),

    key("listen.addresses", "[]", Form::Servers,
        "Where clients ask, UDP and TCP. Port 0 lets the system choose. Empty: 127.0.0.1 and ::1 on port 53, or 5300 where 53 is not ours \
         to take; with lan = true all addresses on port 53."),
    key("listen.udp_payload_bytes", "1232", Form::Whole(512, 4096),
        "Largest answer over UDP; a longer one is truncated and asked again over TCP. 1232 fits every path unfragmented (RFC 9715).")
        .in_unit("octets"),
    key("listen.tcp_connections", "1000", Form::Whole(1, 100_000),
        "Open client connections over TCP, so that connections cannot use up memory. For one more the one that has been idle longest is closed.").in_unit("connections"),
    key("listen.tcp_idle_seconds", "10", Form::Whole(1, 600),
        "A client connection that is silent for so long is closed (RFC 7766 section 6.2.3).").in_unit("seconds"),
    key("listen.resolving_queries", "4096", Form::Whole(8, 100_000),
        "Client queries that may be resolved at once; one client may hold an eighth of them, so that one machine gone mad leaves room for \
         the others. What the cache or a block answers needs no place.").in_unit("queries").fixed(),
    key("listen.when_full", "\"drop\"", Form::Choice(&["drop", "servfail"]),
        "What a client gets when there is no place left and no expired record to give: nothing, so that it asks again, by when the answer is \
         often there; or SERVFAIL, so that it may ask another resolver. Over TCP it is always SERVFAIL."),

    key("access.allow", "[\"127.0.0.0/8\", \"::1/128\", \"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\", \"100.64.0.0/10\", \
         \"fc00::/7\", \"fe80::/10\"]", Form::Networks,
        "Clients that are served. Loopback, private and link-local networks: an open resolver is a weapon for others."),
    key("access.connected", "true", Form::Flag,
        "Serve clients in the networks of this machine's own interfaces too, public ones included; default routes do not count."),
    key("access.open", "false", Form::Flag,
        "Must be true beside 0.0.0.0/0 or ::/0 in allow: says aloud that the whole world may ask."),
    key("access.refuse", "\"refused\"", Form::Choice(&["refused", "silence"]),
        "How a client that is not served is told: REFUSED with EDE 18, limited in rate, or nothing at all."),
    key("access.cookies", "true", Form::Flag,
        "Give clients that ask for one a DNS cookie (RFC 7873, 9018). Whoever returns it has shown its address and is not limited in rate. The \
         secret changes every day."),

    key("limit.answers_per_second", "100", Form::Whole(0, 1_000_000),
        "Answers over UDP to one prefix; what is asked above that is dropped, so that nobody can aim our answers at a forged address. A busy \
         household behind one address stays below it. Clients over TCP or with a cookie of ours are not limited. 0: no limit.")
        .in_unit("answers per second"),
    key("limit.errors_per_second", "5", Form::Whole(0, 1_000_000),
        "The same for refusals and other errors: enough for an administrator to see why. 0: no limit.").in_unit("answers per second"),
    key("limit.burst_seconds", "2", Form::Whole(1, 3600),
        "How many seconds' worth may come at once: browsers ask in bursts.").in_unit("seconds"),
    key("limit.slip", "2", Form::Whole(0, 100),
        "Every how many limited queries one gets an empty answer with TC, so that a real client comes back over TCP. 0: none.")
        .in_unit("queries"),
    key("limit.ipv4_prefix_bits", "24", Form::Whole(8, 32),
        "Clients that share so many leading bits of an IPv4 address share one limit.").in_unit("bits"),
    key("limit.ipv6_prefix_bits", "56", Form::Whole(16, 128),
        "The same for IPv6; 56 is what one customer commonly holds.").in_unit("bits"),
    key("limit.private", "false", Form::Flag,
        "Limit clients with private, link-local and loopback addresses too. Off: they are our own, and nobody outside can forge them."),

    key("resolve.qname_minimisation", "true", Form::Flag,
        "Tell each server only as much of the name as it needs (RFC 9156)."),
    key("resolve.ipv4", "true", Form::Flag, "Ask servers over IPv4."),
    key("resolve.ipv6", "true", Form::Flag, "Ask servers over IPv6. Switch it off where the line has none, to save failed attempts."),
    key("resolve.loopback_upstream", "false", Form::Flag,
        "Servers on 127.0.0.0/8 and ::1 may be asked because a delegation names them. Off, a hostile delegation cannot make us talk to \
         our own machine. Servers named here under [[forward]] and [[stub]] are always asked."),
    key("resolve.upstream_port", "53", Form::Whole(1, 65535),
        "Port of name servers found by delegation. Another than 53 is for laboratories.").in_unit("port"),
    key("resolve.case_randomisation", "true", Form::Flag,
        "Random case in the name asked (0x20): a forger must guess it too. Servers that do not echo it are asked again without."),
    key("resolve.special_use", "true", Form::Flag,
        "Answer names that never belong on the Internet by ourselves: localhost, invalid, private reverse zones (RFC 6761, 6303). A zone \
         of your own under [[forward]], [[stub]] or records overrides it."),
    key("resolve.special_use_off", "[]", Form::Names,
        "Special-use zones that are resolved like any other all the same, each with all below it."),
    key("resolve.aggressive_nsec", "true", Form::Flag,
        "Answer \"no\" from NSEC records proven before, without asking again (RFC 8198)."),
    key("resolve.any", "\"conventional\"", Form::Choice(&["conventional", "minimal"]),
        "Questions for ANY: ask the zone's servers and give what they say, or answer with one HINFO record and ask nobody (RFC 8482)."),
    key("resolve.root_hints", "[]", Form::Records,
        "Root servers to start from, as A and AAAA records. Empty: the 13 of the Internet."),
    key("resolve.records", "[]", Form::Records,
        "Records answered by ourselves, before blocking and resolving."),
    key("resolve.private_addresses", "[\"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\", \"169.254.0.0/16\", \"127.0.0.0/8\", \
         \"0.0.0.0/8\", \"100.64.0.0/10\", \"fc00::/7\", \"fe80::/10\", \"::1/128\", \"::/128\"]", Form::Networks,
        "Addresses that no public name may point to (DNS rebinding); such records are taken out of the answer, and no name server of a \
         public zone is asked there. Empty: no check."),
    key("resolve.private_domains", "[]", Form::Names,
        "Domains whose names, and whose name servers, may be at private addresses, each with all below it."),

    key("forward.zone", "\"corp.example\"", Form::Name,
        "This zone and all below it are asked of the servers, with RD=1. \".\" forwards everything."),
    key("forward.servers", "[\"192.168.1.10\", \"192.168.1.11:5353\"]", Form::Servers, "Recursive resolvers to ask, in order. Port 53 unless given."),
    key("forward.policy", "\"first\"", Form::Choice(&["first", "fastest"]),
        "Which server is asked: the first in the list that works, or the fastest, with a look at the others now and then."),
    key("forward.fallback", "false", Form::Flag, "When no server answers, resolve from the root."),
    key("stub.zone", "\"10.in-addr.arpa\"", Form::Name,
        "This zone is asked of its own servers, with RD=0, instead of those that the delegation names."),
    key("stub.servers", "[\"192.168.1.12\"]", Form::Servers, "Authoritative servers of the zone. Port 53 unless given."),

    key("validate.builtin_anchors", "true", Form::Flag,
        "Trust the built-in keys of the Internet's root. Off and no other anchor: nothing is validated."),
    key("validate.anchors", "[]", Form::Records,
        "More trust anchors, as DS or DNSKEY records of any zone."),
    key("validate.anchors_file", "\"\"", Form::Path, "File with more trust anchors, one DS or DNSKEY record a line."),
    key("validate.rollover", "true", Form::Flag,
        "Follow the roll-over of every trust anchor (RFC 5011): a new key counts once it was seen signed for 30 days, a revoked one never \
         again. Kept in state_dir. Off, only what is written here and built in is trusted."),
    key("validate.nsec3_iterations", "50", Form::Whole(0, 150),
        "NSEC3 with more iterations is treated as Insecure (RFC 9276 section 3.2): each one costs work that others choose.").in_unit("iterations").fixed(),
    key("validate.nsec3_servfail", "false", Form::Flag, "Above that limit answer SERVFAIL instead.").fixed(),
    key("validate.sha1", "false", Form::Flag,
        "Follow DS records of algorithms 5 and 7, RSA with SHA-1. Off, zones that have no others count as unsigned, as RFC 9905 asks.").fixed(),

    key("nta.zone", "\"broken.example\"", Form::Name,
        "Negative trust anchor: names at or below are not validated (RFC 7646), for a zone whose signatures are known to be broken."),
    key("nta.reason", "\"roll-over failed, ticket 4711\"", Form::Text, "Why, for `postern nta list` and whoever comes after you."),
    key("nta.until", "\"2027-01-31\"", Form::Moment, "When it ends by itself."),

    key("budget.upstream_queries", "100", Form::Whole(1, 10_000),
        "Queries to other servers that one client query may cost, all it entails included. A cold name six zones deep needs some 25; hostile \
         delegations ask for thousands.").in_unit("queries"),
    key("budget.seconds", "12", Form::Whole(1, 60),
        "Time from a client's query to its answer. Clients commonly give up after 5 to 10 s; what was learnt by then serves the next one.")
        .in_unit("seconds"),
    key("budget.signatures", "160", Form::Whole(1, 10_000),
        "Signature checks that one client query may cost (KeyTrap). Eleven aliases through signed zones need about 60.")
        .in_unit("checks").fixed(),

    key("cache.bytes", "67108864", Form::Whole(1_048_576, 1 << 40),
        "Memory for cached answers and records together. 64 MiB holds some 200,000 names.").in_unit("octets"),
    key("cache.prefetch", "true", Form::Flag,
        "Resolve a name anew when it is asked for in the last tenth of its TTL, so that nobody waits for what many ask."),
    key("cache.min_ttl_seconds", "0", Form::Whole(0, 3600),
        "Records are kept at least so long. Above 0 breaks what zones ask for; it spares a thin link.").in_unit("seconds"),
    key("cache.max_ttl_seconds", "86400", Form::Whole(1, 604_800),
        "Records are kept at most so long (RFC 8767 section 4 allows a week).").in_unit("seconds"),
    key("cache.max_negative_ttl_seconds", "3600", Form::Whole(1, 86_400),
        "\"There is no such name\" is kept at most so long (RFC 2308 section 5).").in_unit("seconds"),
    key("cache.stale_seconds", "86400", Form::Whole(0, 604_800),
        "When no server answers, an expired record is served for so long after its end (RFC 8767). 0: never.").in_unit("seconds"),

    key("block.action", "\"nxdomain\"", Form::Choice(&["nxdomain", "nodata", "null", "sinkhole"]),
        "Answer to a blocked name: no such name; no such record; 0.0.0.0 and ::; or the sinkhole addresses."),
    key("block.sinkhole", "[]", Form::Addresses, "Addresses for action = \"sinkhole\", such as a page that explains the block."),
    key("block.ttl_seconds", "60", Form::Whole(1, 3600),
        "TTL of a blocked answer: short, so that a lifted block is felt soon.").in_unit("seconds"),
    key("block.own_names", "[]", Form::Names, "Names of the post itself, each with all below it: never blocked, whatever a list says."),
    key("block.critical_file", "\"\"", Form::Path,
        "File with names that must never be blocked, one a line. Empty: the list shipped with the program."),
    key("block.keep_versions", "5", Form::Whole(2, 100),
        "Versions kept of each list, the one in force included, to roll back to.").in_unit("versions").fixed(),

    key("block.max_stale_seconds", "0", Form::Whole(0, 315_360_000),
        "A list goes on blocking for so long after it has expired, then no more. 0: for ever, since an old list protects better than none; \
         status warns either way.").in_unit("seconds"),

    key("trust.root_key", "\"\"", Form::Text,
        "Public root key, as `postern keys init` prints it: lists count whose signatures its key set vouches for. Empty: only root on this \
         box can push lists, which are then signed with the box's own key."),
    key("trust.max_new_names", "20", Form::Whole(0, 1_000_000),
        "A pushed list that would newly block more names of those resolved lately is held, until it is pushed with --force and a reason. A \
         day's scams are few, what a content network serves is many.").in_unit("names"),
    key("trust.max_new_clients", "10", Form::Whole(0, 1_000_000),
        "The same where so many clients asked for one of the names: what many ask for is seldom a scam. Counted by the answers that had to \
         be resolved, at most about 300.").in_unit("clients"),

    key("rpz.file", "\"policy.rpz\"", Form::Path,
        "Response policy zone: a zone file with QNAME triggers and the actions CNAME . (no such name), CNAME *. (no such record), \
         rpz-passthru., rpz-drop., or records of its own. It stands above all lists; of several the first that has a name decides. Read again \
         by a reload."),

    key("metrics.address", "\"127.0.0.1:9353\"", Form::Socket, "Where /metrics, /healthz and /readyz are served over HTTP.").fixed(),
    key("metrics.allow", "[]", Form::Networks,
        "Who may fetch metrics besides this machine itself."),
    key("control.socket", "\"\"", Form::Path,
        "Unix socket that the command line talks to. Empty: $RUNTIME_DIRECTORY/control.sock, else control.sock in state_dir.").fixed(),
];

/// The key at `path`.
pub fn key_at(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.path == path)
}

/// Whether `path` is a section.
pub fn is_section(path: &str) -> bool {
    KEYS.iter().any(|k| k.section() == path && !path.is_empty())
}

/// The example file: every key with its default, unit and reason. Repeated sections are shown as comments.
pub fn example() -> String {
    use std::fmt::Write as _;
    let mut out = String::from(
        "# postern's configuration: every key with its default. None has to be given, and `postern serve` needs no file at all.\n\
         # Written by `postern config schema --toml`; check a file of yours with `postern config check FILE`.\n",
    );
    let mut section = "";
    for key in KEYS {
        let mark = if REPEATED.contains(&key.section()) { "# " } else { "" };
        if key.section() != section {
            section = key.section();
            let head = if mark.is_empty() { format!("[{section}]") } else { format!("# [[{section}]]   # as often as needed") };
            let _ = write!(out, "\n{head}\n");
        }
        out.push('\n');
        let unit = if key.unit.is_empty() { String::new() } else { format!(" Unit: {}.", key.unit) };
        let live = if key.live { "" } else { " A change needs a restart." };
        for line in wrap(key.why, 118).into_iter().chain(wrap(&format!("Form: {}.{unit}{live}", key.form.words()), 118)) {
            let _ = writeln!(out, "# {line}");
        }
        let _ = writeln!(out, "{mark}{} = {}", key.name(), key.default);
    }
    out
}

/// Breaks text into lines of at most `width` characters at spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a last line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `configs/postern.toml` is what a reader of the project sees; the table is what the program does.
    #[test]
    fn the_example_file_is_the_schema() {
        let shipped = include_str!("../../configs/postern.toml");
        assert_eq!(shipped, example(), "run `postern config schema --toml > configs/postern.toml`");
    }

    #[test]
    fn every_key_says_why_and_numbers_say_their_unit() {
        for key in KEYS {
            assert!(key.why.len() > 15 && key.why.ends_with('.'), "{} has no reason", key.path);
            assert_eq!(matches!(key.form, Form::Whole(..)), !key.unit.is_empty(), "{}", key.path);
            assert_eq!(KEYS.iter().filter(|k| k.path == key.path).count(), 1, "{} stands twice", key.path);
        }
    }
}

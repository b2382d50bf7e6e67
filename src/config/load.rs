//! Reading a whole file: all problems at once, each with file, line, key, what is wrong and what to do.
//!
//! The file is walked as spanned TOML and not deserialised into a struct, because serde stops at the first problem.

#![allow(clippy::disallowed_methods, reason = "the configuration is files")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema::{self, Form, KEYS, Key, REPEATED};
use super::value::{Line, Moment, Refusal, Server, Value};
use super::{Access, Action, Block, Budget, Cache, Config, Forward, Limit, Listen, Nta, Resolve, Stub, Trust, Validate};
use crate::blocklist::Protected;
use crate::blocklist::signature::public_key;
use crate::guard::{Prefix, ratelimit};
use crate::policy::rpz;
use crate::wire::{Name, Rtype};

/// Largest configuration or anchor file, in octets: a wrong path must not fill the memory.
const FILE_MAX: u64 = 4 << 20;

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File that it is in.
    pub file: String,
    /// Line, from 1; `None` for the file as a whole.
    pub line: Option<usize>,
    /// Key, or empty.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}{}{}", self.key, if self.key.is_empty() { "" } else { " " }, self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\nhint: {}", self.hint) }
    }
}

/// Everything wrong with a configuration, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Reads and checks a file.
///
/// # Errors
/// Every problem in it, or that it cannot be read.
pub fn from_file(path: &Path) -> Result<Config, Problems> {
    let text = read(path).map_err(|what| Problems(vec![whole_file(path, what)]))?;
    from_text(&path.display().to_string(), &text, path.parent())
}

fn whole_file(path: &Path, what: String) -> Problem {
    let hint = "check the path and that the user who runs postern may read it".into();
    Problem { file: path.display().to_string(), line: None, key: String::new(), what, hint }
}

fn read(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| format!("cannot be opened: {e}"))?;
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(|e| format!("cannot be read: {e}"))?;
    if text.len() as u64 > FILE_MAX { Err(format!("is longer than {FILE_MAX} octets")) } else { Ok(text) }
}

/// Reads and checks a configuration given as text. Relative paths in it start at `folder`.
///
/// # Errors
/// Every problem in it.
pub fn from_text(file: &str, text: &str, folder: Option<&Path>) -> Result<Config, Problems> {
    let (document, syntax) = DeTable::parse_recoverable(text);
    let reader =
        Reader { file, text, folder: folder.unwrap_or(Path::new("")), problems: RefCell::default(), effective: RefCell::default() };
    for error in &syntax {
        reader.problem(error.span(), "", format!("is not TOML: {}", error.message()), "");
    }
    reader.refuse_unknown_keys(document.get_ref());
    let config = reader.config(document.get_ref());
    let mut problems = reader.problems.into_inner();
    if problems.is_empty() {
        return Ok(Config { effective: reader.effective.into_inner(), ..config });
    }
    // Parts that a syntax error swallowed would only repeat it.
    if !syntax.is_empty() {
        problems.truncate(syntax.len());
    }
    problems.sort_by_key(|(at, _)| at.as_ref().map(|range| range.start));
    Err(Problems(problems.into_iter().map(|(_, problem)| problem).collect()))
}

/// What is being read, and what was found wrong so far.
struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    folder: &'a Path,
    problems: RefCell<Vec<(Option<Range<usize>>, Problem)>>,
    effective: RefCell<BTreeMap<&'static str, String>>,
}

/// One section, or one of a repeated section.
struct Section<'r, 'a> {
    reader: &'r Reader<'a>,
    name: &'static str,
    table: Option<&'r DeTable<'a>>,
    /// Where the section is, for a key that is missing in it.
    span: Option<Range<usize>>,
}

impl<'a> Reader<'a> {
    fn problem(&self, at: Option<Range<usize>>, key: &str, what: impl Into<String>, hint: impl Into<String>) {
        let line = at.as_ref().map(|range| 1 + self.text[..range.start.min(self.text.len())].matches('\n').count());
        let problem = Problem { file: self.file.to_owned(), line, key: key.to_owned(), what: what.into(), hint: hint.into() };
        self.problems.borrow_mut().push((at, problem));
    }

    fn refuse_unknown_keys(&self, document: &DeTable<'_>) {
        for (name, value) in document {
            let section = name.get_ref();
            if !schema::is_section(section) {
                if schema::key_at(section).is_none() {
                    self.unknown(name.span(), section);
                }
                continue;
            }
            let repeated = REPEATED.contains(&section.as_ref());
            let tables: Vec<&DeTable<'_>> = match value.get_ref() {
                DeValue::Table(table) if !repeated => vec![table],
                DeValue::Array(list) if repeated && list.iter().all(|t| t.get_ref().is_table()) => {
                    list.iter().filter_map(|t| t.get_ref().as_table()).collect()
                }
                _ => {
                    let head = if repeated { format!("[[{section}]]") } else { format!("[{section}]") };
                    self.problem(
                        Some(value.span()),
                        section,
                        "is a section",
                        format!("write {head} on a line of its own and its keys below"),
                    );
                    continue;
                }
            };
            for (name, _) in tables.into_iter().flatten() {
                let path = format!("{section}.{}", name.get_ref());
                if schema::key_at(&path).is_none() {
                    self.unknown(name.span(), &path);
                }
            }
        }
    }

    fn unknown(&self, at: Range<usize>, path: &str) {
        // The beginning of a key is the key without its unit, most likely.
        let far = |key: &Key| if key.path.starts_with(path) { 1 } else { distance(path, key.path) };
        let near = KEYS.iter().map(|key| (far(key), key.path)).min();
        let hint = match near {
            Some((distance, near)) if distance <= 3.max(path.len() / 3) => {
                format!("did you mean {near}? `postern config schema` lists all keys")
            }
            _ => "`postern config schema` lists all keys".into(),
        };
        self.problem(Some(at), path, "is no key of the configuration", hint);
    }

    fn section<'r>(&'r self, document: &'r DeTable<'a>, name: &'static str) -> Section<'r, 'a> {
        let value = document.get(name);
        Section { reader: self, name, table: value.and_then(|v| v.get_ref().as_table()), span: None }
    }

    fn repeated<'r>(&'r self, document: &'r DeTable<'a>, name: &'static str) -> Vec<Section<'r, 'a>> {
        let list = document.get(name).and_then(|v| v.get_ref().as_array());
        let tables = list.into_iter().flatten().filter_map(|v| Some((v.span(), v.get_ref().as_table()?)));
        tables.map(|(span, table)| Section { reader: self, name, table: Some(table), span: Some(span) }).collect()
    }

    fn config(&self, document: &DeTable<'a>) -> Config {
        let top = Section { reader: self, name: "", table: Some(document), span: None };
        let (lan, listen): (bool, Listen) = (top.value("lan"), self.listen(&self.section(document, "listen")));
        if lan && !listen.addresses.is_empty() {
            top.contradiction("lan", "= true chooses the addresses, and listen.addresses names some", "give one of them");
        }
        let resolve = self.resolve(&self.section(document, "resolve"));
        let forwards = self.repeated(document, "forward").iter().map(|s| self.forward(s, &resolve)).collect::<Vec<_>>();
        let stubs = self.repeated(document, "stub").iter().map(|s| self.stub(s, &resolve)).collect::<Vec<_>>();
        let mut zones: Vec<&Name> = Vec::new();
        let sections = self.repeated(document, "forward").into_iter().chain(self.repeated(document, "stub"));
        for (section, zone) in sections.zip(forwards.iter().map(|f| &f.zone).chain(stubs.iter().map(|s| &s.zone))) {
            if zones.contains(&zone) {
                section.contradiction("zone", format!("{zone} is forwarded or stubbed twice"), "put all its servers into one section");
            }
            zones.push(zone);
        }
        Config {
            lan,
            state_dir: top.path("state_dir"),
            user: Some(top.value::<String>("user")).filter(|u| !u.is_empty()),
            workers: Some(top.whole("workers") as usize).filter(|&n| n > 0),
            listen,
            access: self.access(&self.section(document, "access")),
            limit: limit(&self.section(document, "limit")),
            budget: budget(&self.section(document, "budget")),
            resolve,
            forwards,
            stubs,
            validate: self.validate(&self.section(document, "validate")),
            ntas: self.repeated(document, "nta").iter().map(nta).collect(),
            cache: self.cache(&self.section(document, "cache")),
            block: self.block(&self.section(document, "block")),
            trust: self.trust(&self.section(document, "trust")),
            rpz: self.repeated(document, "rpz").iter().filter_map(policy_zone).collect(),
            metrics: self.section(document, "metrics").value("address"),
            metrics_allow: self.section(document, "metrics").value("allow"),
            control: self.section(document, "control").path("socket"),
            effective: BTreeMap::new(),
        }
    }

    fn listen(&self, s: &Section<'_, '_>) -> Listen {
        Listen {
            addresses: s.value("addresses"),
            udp_payload_bytes: s.whole("udp_payload_bytes") as u16,
            tcp_connections: s.whole("tcp_connections") as usize,
            tcp_idle_seconds: s.whole("tcp_idle_seconds"),
            resolving_queries: s.whole("resolving_queries") as usize,
            servfail_when_full: s.value::<String>("when_full") == "servfail",
        }
    }

    fn access(&self, s: &Section<'_, '_>) -> Access {
        let (allow, open): (Vec<Prefix>, bool) = (s.value("allow"), s.value("open"));
        if let Some(world) = allow.iter().find(|n| n.is_everything() && !open) {
            s.contradiction(
                "allow",
                format!("holds {world}, which lets the whole world ask"),
                "name your own networks; if it is really meant, write access.open = true beside it",
            );
        }
        Access { allow, connected: s.value("connected"), silent: s.value::<String>("refuse") == "silence", cookies: s.value("cookies") }
    }

    fn resolve(&self, s: &Section<'_, '_>) -> Resolve {
        let (ipv4, ipv6): (bool, bool) = (s.value("ipv4"), s.value("ipv6"));
        if !ipv4 && !ipv6 {
            s.contradiction("ipv4", "and resolve.ipv6 are both off, so no server can be asked", "leave one of them on");
        }
        Resolve {
            qname_minimisation: s.value("qname_minimisation"),
            ipv4,
            ipv6,
            loopback_upstream: s.value("loopback_upstream"),
            upstream_port: s.whole("upstream_port") as u16,
            case_randomisation: s.value("case_randomisation"),
            special_use: s.value("special_use"),
            special_use_off: s.value("special_use_off"),
            aggressive_nsec: s.value("aggressive_nsec"),
            minimal_any: s.value::<String>("any") == "minimal",
            root_hints: root_hints(s),
            records: s.value("records"),
            private_addresses: s.value("private_addresses"),
            private_domains: s.value("private_domains"),
        }
    }

    fn forward(&self, s: &Section<'_, '_>, resolve: &Resolve) -> Forward {
        Forward {
            zone: s.value("zone"),
            servers: upstreams(s, resolve),
            fastest: s.optional::<String>("policy").is_some_and(|policy| policy == "fastest"),
            fallback: s.optional("fallback").unwrap_or(false),
        }
    }

    fn stub(&self, s: &Section<'_, '_>, resolve: &Resolve) -> Stub {
        Stub { zone: s.value("zone"), servers: upstreams(s, resolve) }
    }

    fn validate(&self, s: &Section<'_, '_>) -> Validate {
        let mut anchors: Vec<Line> = s.value("anchors");
        if let Some(wrong) = anchors.iter().find(|a| !matches!(a.rtype, Rtype::DS | Rtype::DNSKEY)) {
            s.contradiction("anchors", format!("holds a record of type {}", wrong.rtype), "a trust anchor is a DS or a DNSKEY record");
        }
        if let Some(path) = s.path("anchors_file") {
            self.anchors_file(s, &path, &mut anchors);
        }
        Validate {
            builtin_anchors: s.value("builtin_anchors"),
            anchors,
            nsec3_iterations: s.whole("nsec3_iterations") as u16,
            nsec3_servfail: s.value("nsec3_servfail"),
            sha1: s.value("sha1"),
            rollover: s.value("rollover"),
        }
    }

    /// One record a line; `;` begins a comment.
    fn anchors_file(&self, s: &Section<'_, '_>, path: &Path, anchors: &mut Vec<Line>) {
        let text = match read(path) {
            Ok(text) => text,
            Err(what) => {
                return s.contradiction("anchors_file", format!("{}: {what}", path.display()), "check the path and its permissions");
            }
        };
        for (i, line) in text.lines().enumerate() {
            let line = line.split(';').next().unwrap_or("").trim();
            match line.parse::<Line>() {
                _ if line.is_empty() => {}
                Ok(record) if matches!(record.rtype, Rtype::DS | Rtype::DNSKEY) => anchors.push(record),
                Ok(record) => s.contradiction(
                    "anchors_file",
                    format!("{}:{}: {} is no trust anchor", path.display(), i + 1, record.rtype),
                    "a trust anchor is a DS or a DNSKEY record, each on one line",
                ),
                Err(what) => s.contradiction(
                    "anchors_file",
                    format!("{}:{}: {what}", path.display(), i + 1),
                    "write each anchor on one line, as in \". DS 20326 8 2 E06D…\"",
                ),
            }
        }
    }

    fn cache(&self, s: &Section<'_, '_>) -> Cache {
        let (min_ttl, max_ttl) = (s.whole("min_ttl_seconds") as u32, s.whole("max_ttl_seconds") as u32);
        if min_ttl > max_ttl {
            s.contradiction(
                "min_ttl_seconds",
                format!("= {min_ttl} is above cache.max_ttl_seconds = {max_ttl}"),
                "lower one or raise the other",
            );
        }
        Cache {
            bytes: s.whole("bytes") as usize,
            min_ttl,
            max_ttl,
            prefetch: s.value("prefetch"),
            max_negative_ttl: s.whole("max_negative_ttl_seconds") as u32,
            stale: s.whole("stale_seconds") as u32,
        }
    }

    fn trust(&self, s: &Section<'_, '_>) -> Trust {
        let root_key = Some(s.value::<String>("root_key")).filter(|text| !text.is_empty());
        if root_key.as_deref().is_some_and(|text| public_key(text).is_none()) {
            s.contradiction("root_key", "is no public key", "write the line of root.pub that begins with RW");
        }
        Trust { root_key, max_new_names: s.whole("max_new_names"), max_new_clients: s.whole("max_new_clients") }
    }

    fn block(&self, s: &Section<'_, '_>) -> Block {
        let (word, sinkhole): (String, Vec<IpAddr>) = (s.value("action"), s.value("sinkhole"));
        match (word.as_str(), sinkhole.is_empty()) {
            ("sinkhole", true) => s.contradiction("action", "= \"sinkhole\" has no address", "give some in block.sinkhole"),
            ("sinkhole", false) | (_, true) => {}
            _ => {
                s.contradiction("sinkhole", format!("is given, but action = {word:?} does not use it"), "write block.action = \"sinkhole\"")
            }
        }
        let critical = s.path("critical_file").and_then(|path| match read(&path) {
            Ok(text) => Some(text),
            Err(what) => {
                s.contradiction("critical_file", format!("{}: {what}", path.display()), "check the path and its permissions");
                None
            }
        });
        if let Some(error) = critical.as_ref().and_then(|text| Protected::with_critical(text).err()) {
            s.contradiction(
                "critical_file",
                format!("{error}"),
                "write one name a line, then the reason; a dot in front protects all below too",
            );
        }
        let own_names: Vec<Name> = s.value("own_names");
        if let Err(error) = Protected::default().add_own(&own_names) {
            s.contradiction("own_names", format!("{error}"), "name the domains of the post, not every host");
        }
        let action = match word.as_str() {
            "nodata" => Action::Nodata,
            "null" => Action::Null,
            "sinkhole" => Action::Sinkhole(sinkhole),
            _ => Action::Nxdomain,
        };
        Block {
            action,
            ttl: s.whole("ttl_seconds") as u32,
            own_names,
            critical,
            max_stale: Some(s.whole("max_stale_seconds")).filter(|&seconds| seconds > 0),
            keep_versions: s.whole("keep_versions") as usize,
        }
    }
}

fn limit(s: &Section<'_, '_>) -> Limit {
    let rate = ratelimit::Settings {
        answers_per_second: s.whole("answers_per_second") as u32,
        errors_per_second: s.whole("errors_per_second") as u32,
        burst_seconds: s.whole("burst_seconds") as u32,
        slip: s.whole("slip") as u32,
        ipv4_bits: s.whole("ipv4_prefix_bits") as u8,
        ipv6_bits: s.whole("ipv6_prefix_bits") as u8,
    };
    Limit { rate, private: s.value("private") }
}

fn budget(s: &Section<'_, '_>) -> Budget {
    Budget { upstream_queries: s.whole("upstream_queries") as u32, seconds: s.whole("seconds"), signatures: s.whole("signatures") as u32 }
}

/// Root servers, the addresses of one name together.
fn root_hints(s: &Section<'_, '_>) -> Vec<(Name, Vec<IpAddr>)> {
    let mut hints: Vec<(Name, Vec<IpAddr>)> = Vec::new();
    for line in s.value::<Vec<Line>>("root_hints") {
        let address = match (line.rtype, &line.rdata[..]) {
            (Rtype::A, rdata) => <[u8; 4]>::try_from(rdata).ok().map(IpAddr::from),
            (Rtype::AAAA, rdata) => <[u8; 16]>::try_from(rdata).ok().map(IpAddr::from),
            _ => None,
        };
        let Some(address) = address else {
            let what = format!("holds a record of type {}", line.rtype);
            s.contradiction("root_hints", what, "give the addresses of the root servers, as in \"a.root-servers.net. A 198.41.0.4\"");
            continue;
        };
        match hints.iter_mut().find(|(name, _)| *name == line.owner) {
            Some((_, addresses)) => addresses.push(address),
            None => hints.push((line.owner, vec![address])),
        }
    }
    hints
}

fn upstreams(s: &Section<'_, '_>, resolve: &Resolve) -> Vec<SocketAddr> {
    let servers: Vec<SocketAddr> = s.value::<Vec<Server>>("servers").into_iter().map(|server| server.or_port(53)).collect();
    if servers.is_empty() {
        s.contradiction("servers", "is empty", "give the address of at least one server");
    }
    if let Some(port_0) = servers.iter().find(|server| server.port() == 0) {
        s.contradiction("servers", format!("{port_0} has port 0, to which nothing can be sent"), "give the real port, or none for 53");
    }
    let off = |server: &&SocketAddr| if server.is_ipv4() { !resolve.ipv4 } else { !resolve.ipv6 };
    if let Some(off) = servers.iter().find(off) {
        let family = if off.is_ipv4() { "ipv4" } else { "ipv6" };
        s.contradiction("servers", format!("{off} cannot be asked while resolve.{family} = false"), "switch it on or take the server out");
    }
    servers
}

fn policy_zone(s: &Section<'_, '_>) -> Option<Arc<rpz::Zone>> {
    let path = s.path("file").filter(|_| s.has("file"))?;
    let file = path.display();
    let zone = read(&path).map_err(|what| (what, "check the path and its permissions"));
    let zone = zone.and_then(|text| rpz::Zone::parse(&file.to_string(), &text).map_err(|what| (what, "begin it with a SOA record")));
    match zone {
        Ok(zone) => Some(Arc::new(zone)),
        Err((what, hint)) => {
            s.contradiction("file", format!("{file}: {what}"), hint);
            None
        }
    }
}

fn nta(s: &Section<'_, '_>) -> Nta {
    let reason: String = s.value("reason");
    if reason.trim().is_empty() && s.has("reason") {
        s.contradiction("reason", "is empty", "say why validation is off, for whoever comes after you");
    }
    Nta { zone: s.value("zone"), reason, until: s.optional::<Moment>("until").map(|moment| moment.0) }
}

impl Section<'_, '_> {
    fn key(&self, name: &str) -> &'static Key {
        let path = if self.name.is_empty() { name.to_owned() } else { format!("{}.{name}", self.name) };
        schema::key_at(&path).expect("the reader asks only for keys of the schema: a test reads every section")
    }

    fn has(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(name))
    }

    /// The value of a key, if it is written; a bad one is reported and counts as not written.
    fn optional<T: Value>(&self, name: &str) -> Option<T> {
        let key = self.key(name);
        let value = self.table?.get(name)?;
        match T::read(value).and_then(|read| in_form(value, key.form).map(|()| read)) {
            Ok(read) => {
                if !REPEATED.contains(&self.name) {
                    self.reader.effective.borrow_mut().insert(key.path, self.reader.text[value.span()].to_owned());
                }
                Some(read)
            }
            Err(Refusal { span, what, hint }) => {
                self.reader.problem(Some(span), key.path, what, hint);
                None
            }
        }
    }

    /// The value of a key or its default. In a repeated section a missing key is a problem.
    fn value<T: Value>(&self, name: &str) -> T {
        let key = self.key(name);
        self.optional(name).unwrap_or_else(|| {
            if !REPEATED.contains(&self.name) {
                self.reader.effective.borrow_mut().insert(key.path, key.default.to_owned());
            } else if !self.has(name) {
                let hint = format!("write {} = {}", key.name(), key.default);
                self.reader.problem(self.span.clone(), key.path, "is missing", hint);
            }
            let default = DeValue::parse(key.default).expect("a test parses every default");
            T::read(&default).unwrap_or_else(|_| panic!("the default of {} has its type: a test reads every default", key.path))
        })
    }

    fn whole(&self, name: &str) -> u64 {
        self.value(name)
    }

    /// A path, taken from the folder of the configuration where it is relative; `None` where it is empty.
    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.value::<PathBuf>(name)).filter(|p| !p.as_os_str().is_empty()).map(|p| self.reader.folder.join(p))
    }

    /// Reports a key whose value is fine by itself but not here.
    fn contradiction(&self, name: &str, what: impl Into<String>, hint: impl Into<String>) {
        let at = self.table.and_then(|t| t.get(name)).map(Spanned::span).or_else(|| self.span.clone());
        self.reader.problem(at, self.key(name).path, what, hint);
    }
}

/// Limits that the type alone does not know.
fn in_form(value: &Spanned<DeValue<'_>>, form: Form) -> Result<(), Refusal> {
    let refusal = |what: String| Err(Refusal { span: value.span(), what, hint: format!("write {}", form.words()) });
    match form {
        Form::Whole(least, most) => match u64::read(value)? {
            number if (least..=most).contains(&number) => Ok(()),
            number => refusal(format!("= {number} is out of range")),
        },
        Form::Choice(words) => match value.get_ref().as_str() {
            Some(word) if words.contains(&word) => Ok(()),
            _ => refusal(format!("{} is none of the choices", value.get_ref().as_str().unwrap_or_default())),
        },
        _ => Ok(()),
    }
}

/// Edits between two keys (Levenshtein), to guess what was meant.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problems(text: &str) -> Vec<Problem> {
        from_text("postern.toml", text, None).map_or_else(|p| p.0, |_| Vec::new())
    }

    #[test]
    fn the_example_means_the_same_as_an_empty_file() {
        let example = from_text("postern.toml", &schema::example(), None).unwrap();
        assert_eq!(example, Config::default());
        let told: Vec<&str> = example.effective.keys().copied().collect();
        let mut known: Vec<&str> = KEYS.iter().filter(|k| !REPEATED.contains(&k.section())).map(|k| k.path).collect();
        known.sort_unstable();
        assert_eq!(told, known, "a key of the schema that nobody reads does nothing");
    }

    #[test]
    fn the_repeated_sections_of_the_example_can_be_used_as_they_stand() {
        let mut text = String::new();
        for line in schema::example().lines() {
            let bare = line.strip_prefix("# ").unwrap_or(line);
            if bare.starts_with("[[") || (line.starts_with("# ") && bare.split(' ').nth(1) == Some("=")) {
                text.push_str(bare);
                text.push('\n');
            }
        }
        let folder = std::env::temp_dir().join(format!("postern-example-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("policy.rpz"), "@ SOA . . 1 1 1 1 1\nbad.example CNAME .\n").unwrap();
        let config = from_text("postern.toml", &text, Some(&folder)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((config.forwards.len(), config.stubs.len(), config.ntas.len(), config.rpz[0].len()), (1, 1, 1, 1));
        assert_eq!(config.forwards[0].servers[1], "192.168.1.11:5353".parse().unwrap());
        let text_keys: Vec<&str> = KEYS.iter().filter(|k| REPEATED.contains(&k.section())).map(Key::name).collect();
        assert!(text_keys.iter().all(|name| text.contains(&format!("{name} = "))));
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_line() {
        let found = problems(
            "lan = \"yes\"\nlistne = 1\n[listen]\nport = 53\nudp_payload_bytes = 100\n[access]\nallow = [\"10.0.0.0/8\",\n  \"10.0.0.1/8\"]\n\
             [[forward]]\nservers = [\"9.9.9.9:dot\"]\n",
        );
        let told: Vec<(Option<usize>, &str)> = found.iter().map(|p| (p.line, p.key.as_str())).collect();
        assert_eq!(
            told,
            [
                (Some(1), "lan"),
                (Some(2), "listne"),
                (Some(4), "listen.port"),
                (Some(5), "listen.udp_payload_bytes"),
                (Some(8), "access.allow"),
                (Some(9), "forward.zone"),
                (Some(10), "forward.servers"),
            ]
        );
        assert_eq!(
            found[6].to_string(),
            "postern.toml:10: forward.servers \"9.9.9.9:dot\" has no valid port\nhint: write \"9.9.9.9\" or \"9.9.9.9:53\", not \"dot\""
        );
        assert!(found.iter().all(|p| !p.hint.is_empty()));
    }

    #[test]
    fn contradictions_are_refused() {
        for (text, key) in [
            ("lan = true\n[listen]\naddresses = [\"127.0.0.1\"]", "lan"),
            ("[access]\nallow = [\"0.0.0.0/0\"]", "access.allow"),
            ("[access]\nallow = [\"::/0\"]", "access.allow"),
            ("[resolve]\nipv4 = false\nipv6 = false", "resolve.ipv4"),
            ("[cache]\nmin_ttl_seconds = 100\nmax_ttl_seconds = 10", "cache.min_ttl_seconds"),
            ("[block]\naction = \"sinkhole\"", "block.action"),
            ("[block]\nsinkhole = [\"192.0.2.1\"]", "block.sinkhole"),
            ("[block]\naction = \"drop\"", "block.action"),
            ("[block]\ncritical_file = \"/nowhere/at/all\"", "block.critical_file"),
            ("[trust]\nroot_key = \"RWQ\"", "trust.root_key"),
            ("[validate]\nanchors = [\". A 192.0.2.1\"]", "validate.anchors"),
            ("[resolve]\nroot_hints = [\". NS a.root-servers.net.\"]", "resolve.root_hints"),
            ("[[stub]]\nzone = \"a\"\nservers = []", "stub.servers"),
            ("[[stub]]\nzone = \"a\"\nservers = [\"9.9.9.9:0\"]", "stub.servers"),
            ("[resolve]\nipv6 = false\n[[stub]]\nzone = \"a\"\nservers = [\"::2\"]", "stub.servers"),
            ("[[forward]]\nzone = \"A.\"\nservers = [\"9.9.9.9\"]\n[[stub]]\nzone = \"a\"\nservers = [\"9.9.9.9\"]", "stub.zone"),
            ("[[nta]]\nzone = \"a\"\nreason = \"\"\nuntil = \"2030-01-01\"", "nta.reason"),
            ("[nta]\nzone = \"a\"", "nta"),
            ("[[rpz]]\nfile = \"/nowhere/at/all\"", "rpz.file"),
            ("[[rpz]]", "rpz.file"),
            ("[[cache]]\nbytes = 1", "cache"),
            ("listen = 5", "listen"),
        ] {
            let found = problems(text);
            assert!(found.iter().any(|p| p.key == key), "{text}: {found:?}");
        }
        assert!(problems("[access]\nallow = [\"0.0.0.0/0\", \"::/0\"]\nopen = true").is_empty());
    }

    #[test]
    fn a_misspelt_key_gets_a_guess() {
        assert!(problems("[cache]\nmax_ttl = 5")[0].hint.contains("cache.max_ttl_seconds"));
        assert!(problems("[listen]\nadresses = []")[0].hint.contains("listen.addresses"));
    }

    #[test]
    fn what_is_not_toml_is_told_with_its_line() {
        let found = problems("lan = true\n[listen\naddresses = [}\n");
        assert!(!found.is_empty() && found[0].line == Some(2), "{found:?}");
    }

    #[test]
    fn what_cannot_be_made_live_is_named() {
        let new = from_text("f", "state_dir = \"/elsewhere\"\n[cache]\nbytes = 2097152", None).unwrap();
        assert_eq!(Config::default().needs_restart(&new), ["state_dir"]);
    }

    #[test]
    fn relative_paths_start_at_the_folder_of_the_file() {
        let config = from_text("f", "state_dir = \"state\"", Some(Path::new("/etc/postern"))).unwrap();
        assert_eq!(config.state_dir.unwrap(), Path::new("/etc/postern/state"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_configuration_or_a_list_of_problems(text in "[\\PC\n\"\\[\\]=#.]{0,120}") {
            if let Err(found) = from_text("f", &text, None) {
                prop_assert!(!found.0.is_empty());
            }
        }

        #[test]
        fn mutated_examples_never_panic(at in 0usize..9000, with in "[\\PC\n\"\\[\\]=#.]{0,3}") {
            let mut text = schema::example();
            let at = (0..=at % text.len()).rev().find(|&i| text.is_char_boundary(i)).unwrap();
            text.insert_str(at, &with);
            let _ = from_text("f", &text, None);
        }
    }
}

//! Response policy zones: a zone file whose records say what is answered in place of other names' (draft-vixie-dnsop-dns-rpz).
//!
//! QNAME triggers with the actions NXDOMAIN (`CNAME .`), NODATA (`CNAME *.`), PASSTHRU, DROP and local data. Other triggers (addresses,
//! name servers, clients) and TCP-only are not done: such records are left out, and told with their line. The file is the operator's own
//! word, so it stands above every list and is not held back by protected names; the box's own rules stand above it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::wire::name::NameError;
use crate::wire::{Name, Rrset, Rtype, presentation};

/// TTL of a record without one, in seconds.
const DEFAULT_TTL: u32 = 300;
/// Rules of one zone; what is above is left out. A zone of a million names belongs into a list, which needs no memory for them.
const RULES_MAX: usize = 100_000;
/// Records that are left out and told of singly.
const TOLD_MAX: usize = 20;
/// Labels below the apex that make another trigger than QNAME.
const OTHER_TRIGGERS: [&[u8]; 4] = [b"rpz-ip", b"rpz-client-ip", b"rpz-nsdname", b"rpz-nsip"];

/// What is done about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// There is no such name.
    Nxdomain,
    /// There is no such record.
    Nodata,
    /// Let through, whatever comes behind.
    Pass,
    /// No answer at all.
    Drop,
    /// These records, and nothing else.
    Data(Vec<Arc<Rrset>>),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The name, or with `*` in front all names below.
    pub trigger: Name,
    /// What is done.
    pub action: Action,
    /// Line of its first record.
    pub line: usize,
}

/// A record that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its line.
    pub line: usize,
    /// Why.
    pub why: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// A policy zone, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Zone {
    /// The file that it came from, for explanations.
    pub file: String,
    rules: Vec<Rule>,
    /// Places of rules by the lower-case wire form of their name, without `*`.
    exact: HashMap<Box<[u8]>, u32>,
    below: HashMap<Box<[u8]>, u32>,
    left_out: Vec<LeftOut>,
    left_out_total: usize,
}

impl Zone {
    /// Reads a zone file. What cannot be used is left out, and never spoils the rest.
    ///
    /// # Errors
    /// There is no SOA record, so that nobody knows where the zone begins.
    pub fn parse(file: &str, text: &str) -> Result<Zone, String> {
        let mut zone = Zone { file: file.to_owned(), ..Zone::default() };
        let mut state = State { origin: Name::root(), owner: None, ttl: DEFAULT_TTL, apex: None };
        for entry in Entries::of(text) {
            if let Err(why) = zone.read(&mut state, &entry) {
                zone.leave_out(entry.line, why);
            }
        }
        match state.apex {
            Some(_) => Ok(zone),
            None => Err("has no SOA record, so that nobody knows where the zone begins".into()),
        }
    }

    fn leave_out(&mut self, line: usize, why: String) {
        self.left_out_total += 1;
        if self.left_out.len() < TOLD_MAX {
            self.left_out.push(LeftOut { line, why });
        }
    }

    fn read(&mut self, state: &mut State, entry: &Entry) -> Result<(), String> {
        let mut words = entry.words.iter().map(String::as_str);
        if !entry.indented {
            match words.next().unwrap_or_default() {
                "$ORIGIN" => {
                    state.origin = state.name(words.next().unwrap_or_default())?;
                    return Ok(());
                }
                "$TTL" => {
                    let text = words.next().unwrap_or_default();
                    state.ttl = ttl(text).ok_or_else(|| format!("{text:?} is no TTL"))?;
                    return Ok(());
                }
                directive if directive.starts_with('$') => return Err(format!("{directive} is not known here")),
                owner => state.owner = Some(state.name(owner)?),
            }
        }
        let owner = state.owner.clone().ok_or("has no owner")?;
        let mut own_ttl = state.ttl;
        let rtype = loop {
            let word = words.next().ok_or("ends before its type")?;
            if let Some(seconds) = ttl(word) {
                own_ttl = seconds;
            } else if !word.eq_ignore_ascii_case("IN") {
                break word.parse::<Rtype>().map_err(|error| error.to_string())?;
            }
        };
        if rtype == Rtype::SOA {
            state.apex.get_or_insert(owner);
            return Ok(());
        }
        let apex = state.apex.clone().ok_or("stands before the SOA record")?;
        if !owner.is_at_or_below(&apex) {
            return Err(format!("{owner} is not in the zone {apex}"));
        }
        // The zone's own name servers, and its signatures: about the zone, not about others' names.
        if owner == apex || rtype.is_dnssec_proof() || rtype == Rtype::DNSKEY {
            return Ok(());
        }
        let trigger = below(&owner, &apex).map_err(|error| error.to_string())?;
        let last = trigger.labels().last().unwrap_or_default();
        if OTHER_TRIGGERS.contains(&last) {
            return Err(format!("{} triggers are not supported", String::from_utf8_lossy(last)));
        }
        let data = words.collect::<Vec<_>>().join(" ");
        let action = match rtype {
            Rtype::CNAME => match data.as_str() {
                "." => Action::Nxdomain,
                "*." => Action::Nodata,
                "rpz-passthru." => Action::Pass,
                "rpz-drop." => Action::Drop,
                special if special.starts_with("rpz-") => return Err(format!("{special} is not supported")),
                wild if wild.starts_with("*.") => return Err("a target with * is not supported".into()),
                // How PASSTHRU was once written.
                _ if state.name(&data)? == trigger => Action::Pass,
                _ => Action::Data(vec![set(&trigger, rtype, own_ttl, state.name(&data)?.wire().into())]),
            },
            _ => {
                let rdata = presentation::rdata(rtype, &data).ok_or_else(|| format!("{data:?} is no {rtype} data"))?;
                Action::Data(vec![set(&trigger, rtype, own_ttl, rdata)])
            }
        };
        self.add(Rule { trigger, action, line: entry.line })
    }

    fn add(&mut self, rule: Rule) -> Result<(), String> {
        let (map, key) = match rule.trigger.is_wildcard() {
            true => (&mut self.below, rule.trigger.parent().unwrap_or_else(Name::root)),
            false => (&mut self.exact, rule.trigger.clone()),
        };
        if let Some(&place) = map.get(key.wire()) {
            return merge(&mut self.rules[place as usize].action, rule.action);
        }
        if self.rules.len() >= RULES_MAX {
            return Err(format!("there are more than {RULES_MAX} rules; `postern blocklist` takes lists of any length"));
        }
        map.insert(key.wire().into(), self.rules.len() as u32);
        self.rules.push(rule);
        Ok(())
    }

    /// The rule for a name in lower-case wire form: its own, or that of the nearest name above. Allocates nothing.
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        if let Some(&own) = self.exact.get(name) {
            return Some(own);
        }
        let mut rest = name;
        while let [length @ 1..=63, tail @ ..] = rest {
            rest = tail.get(usize::from(*length)..)?;
            if let Some(&above) = self.below.get(rest) {
                return Some(above);
            }
        }
        None
    }

    /// The rule at this place.
    pub fn rule(&self, place: u32) -> Option<&Rule> {
        self.rules.get(place as usize)
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The first records that were left out, and how many there were in all.
    pub fn left_out(&self) -> (&[LeftOut], usize) {
        (&self.left_out, self.left_out_total)
    }
}

/// Where in the file we are.
struct State {
    origin: Name,
    owner: Option<Name>,
    ttl: u32,
    apex: Option<Name>,
}

impl State {
    /// A name as written: `@` and what has no dot at its end belong to the origin.
    fn name(&self, text: &str) -> Result<Name, String> {
        let bad = |error: NameError| format!("{text:?} is no domain name: {error}");
        if text == "@" {
            return Ok(self.origin.clone());
        }
        let name: Name = text.parse().map_err(bad)?;
        if text.ends_with('.') || self.origin.is_root() {
            return Ok(name);
        }
        name.rebase(&Name::root(), &self.origin).map_err(bad)
    }
}

/// What stands before the apex.
fn below(owner: &Name, apex: &Name) -> Result<Name, NameError> {
    owner.rebase(apex, &Name::root())
}

fn set(owner: &Name, rtype: Rtype, ttl: u32, rdata: Box<[u8]>) -> Arc<Rrset> {
    Arc::new(Rrset::new(owner.clone(), rtype, ttl, vec![rdata]))
}

/// A further record of a name that has a rule.
fn merge(known: &mut Action, more: Action) -> Result<(), String> {
    let (Action::Data(sets), Action::Data(more)) = (&mut *known, &more) else {
        return if *known == more { Ok(()) } else { Err("the name has another rule already".into()) };
    };
    for new in more {
        match sets.iter_mut().find(|set| set.rtype == new.rtype) {
            // RFC 2181 section 10.1: an alias has one target.
            Some(set) if set.rtype == Rtype::CNAME => return Err(format!("{} has an alias already", set.owner)),
            Some(set) => {
                let set = Arc::make_mut(set);
                set.ttl = set.ttl.min(new.ttl);
                set.rdatas.extend(new.rdatas.iter().cloned());
            }
            None => sets.push(new.clone()),
        }
    }
    Ok(())
}

/// `300`, `5m`, `1h30m`.
fn ttl(text: &str) -> Option<u32> {
    let (mut total, mut number, mut open) = (0u32, 0u32, true);
    for octet in text.bytes() {
        let unit = match octet.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => {
                number = number.checked_mul(10)?.checked_add(u32::from(digit - b'0'))?;
                open = false;
                continue;
            }
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        if open {
            return None;
        }
        total = total.checked_add(number.checked_mul(unit)?)?;
        (number, open) = (0, true);
    }
    if text.is_empty() { None } else { total.checked_add(number).map(|ttl| ttl.min(i32::MAX as u32)) }
}

/// One record or directive, which may span lines in parentheses.
struct Entry {
    line: usize,
    /// It begins with a space: the owner is that of the record before.
    indented: bool,
    words: Vec<String>,
}

/// The entries of a text.
struct Entries<'a> {
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
}

impl<'a> Entries<'a> {
    fn of(text: &'a str) -> Entries<'a> {
        Entries { lines: text.lines().enumerate() }
    }
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let mut entry = Entry { line: 0, indented: false, words: Vec::new() };
        let mut open = 0usize;
        for (index, line) in self.lines.by_ref() {
            if entry.words.is_empty() && open == 0 {
                (entry.line, entry.indented) = (index + 1, line.starts_with([' ', '\t']));
            }
            words(line, &mut open, &mut entry.words);
            if open == 0 && !entry.words.is_empty() {
                return Some(entry);
            }
        }
        // Parentheses that nobody closed: what is in them is one entry all the same.
        (!entry.words.is_empty()).then_some(entry)
    }
}

/// Splits a line; quotes hold a word together, `;` begins a comment, a backslash takes the meaning of what follows.
fn words(line: &str, open: &mut usize, words: &mut Vec<String>) {
    let (mut word, mut quoted, mut escaped) = (String::new(), false, false);
    let mut end = |word: &mut String| {
        if !word.is_empty() {
            words.push(std::mem::take(word));
        }
    };
    for character in line.chars() {
        match character {
            _ if escaped => {
                word.push(character);
                escaped = false;
                continue;
            }
            '\\' => {
                word.push(character);
                escaped = true;
            }
            '"' => {
                word.push(character);
                quoted = !quoted;
            }
            _ if quoted => word.push(character),
            ';' => break,
            '(' | ')' => {
                end(&mut word);
                *open = if character == '(' { *open + 1 } else { open.saturating_sub(1) };
            }
            space if space.is_ascii_whitespace() => end(&mut word),
            _ => word.push(character),
        }
    }
    end(&mut word);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "$TTL 5m\n$ORIGIN rpz.post.\n@ SOA localhost. root.post. (\n  1 1h ; serial, refresh\n  15m 30d 2h )\n  NS localhost.\n\
        bad.example CNAME .\n*.bad.example CNAME *.\nfine.bad.example CNAME rpz-passthru.\nold.example IN CNAME old.example.\n\
        quiet.example 60 CNAME rpz-drop.\ngarden.example CNAME walled.post.\nlocal.example A 192.0.2.1\n  A 192.0.2.2\n  60 IN AAAA 2001:db8::1\n\
        text.example TXT \"a ; b\" (\n \"c\" )\n";

    fn zone(text: &str) -> Zone {
        Zone::parse("test", text).unwrap()
    }

    fn action<'z>(zone: &'z Zone, name: &str) -> Option<&'z Action> {
        let name: Name = name.parse().unwrap();
        Some(&zone.rule(zone.find(name.wire())?)?.action)
    }

    #[test]
    fn each_action_is_read_and_found() {
        let zone = zone(FILE);
        assert_eq!(zone.left_out(), (&[][..], 0));
        for (name, wanted) in [
            ("bad.example", Some(&Action::Nxdomain)),
            ("www.bad.example", Some(&Action::Nodata)),
            ("a.b.bad.example", Some(&Action::Nodata)),
            ("fine.bad.example", Some(&Action::Pass)),
            ("old.example", Some(&Action::Pass)),
            ("quiet.example", Some(&Action::Drop)),
            ("below.quiet.example", None),
            ("example", None),
        ] {
            assert_eq!(action(&zone, name), wanted, "{name}");
        }
        let Some(Action::Data(sets)) = action(&zone, "local.example") else { panic!("local data") };
        assert_eq!(
            sets.iter().map(|set| (set.rtype, set.ttl, set.rdatas.len())).collect::<Vec<_>>(),
            [(Rtype::A, 300, 2), (Rtype::AAAA, 60, 1)]
        );
        let Some(Action::Data(sets)) = action(&zone, "garden.example") else { panic!("local data") };
        assert_eq!(sets[0].target(), Some("walled.post".parse().unwrap()));
        let Some(Action::Data(sets)) = action(&zone, "text.example") else { panic!("local data") };
        assert_eq!(&sets[0].rdatas[0][..], b"\x05a ; b\x01c");
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_line_and_spoils_nothing_else() {
        let zone = zone(
            "@ SOA . . 1 1 1 1 1\n32.1.2.0.192.rpz-ip CNAME .\nbad.example CNAME .\nbad.example A 192.0.2.1\nx.example CNAME rpz-tcp-only.\n\
             y.example A 192.0.2\nz.example CNAME *.garden.\n$INCLUDE other\nlast.example CNAME .\n",
        );
        assert_eq!(zone.left_out().0.iter().map(|left| left.line).collect::<Vec<_>>(), [2, 4, 5, 6, 7, 8]);
        assert_eq!((zone.len(), action(&zone, "last.example")), (2, Some(&Action::Nxdomain)));
        assert!(Zone::parse("test", "bad.example CNAME .\n").unwrap_err().contains("SOA"));
        assert!(
            Zone::parse("test", "$ORIGIN rpz.\n@ SOA . . 1 1 1 1 1\nother. CNAME .\n").unwrap().left_out().0[0]
                .why
                .contains("not in the zone")
        );
    }

    proptest! {
        /// A rule for a name reaches it, and one with `*` all names below and not itself.
        #[test]
        fn a_rule_reaches_what_it_says(labels in prop::collection::vec("[a-z0-9]{1,8}", 1..5), wild: bool, above in 0usize..4) {
            let name = labels.join(".");
            let trigger = if wild { format!("*.{name}") } else { name.clone() };
            let zone = zone(&format!("$ORIGIN rpz.post.\n@ SOA . . 1 1 1 1 1\n{trigger} CNAME .\n"));
            prop_assert_eq!(action(&zone, &name).is_some(), !wild);
            let deeper = format!("{}{name}", "x.".repeat(above + 1));
            prop_assert_eq!(action(&zone, &deeper).is_some(), wild);
            prop_assert_eq!(action(&zone, "other.name").is_some(), name == "other.name" && !wild);
        }

        #[test]
        fn any_text_is_a_zone_or_an_error(text in "[\\PC\n\t \"();$@*.\\\\]{0,200}") {
            if let Ok(zone) = Zone::parse("test", &format!("@ SOA . . 1 1 1 1 1\n{text}")) {
                let lines = text.lines().count() + 1;
                prop_assert!(zone.left_out().0.iter().all(|left| (1..=lines).contains(&left.line)));
            }
        }
    }
}

//! Reading lists of names that others wrote: one file a format, line numbers kept, nothing fatal but the disk.
//!
//! [`read`] streams: one line is in memory at a time, and no longer than [`MAX_LINE`]. A line that makes no sense is given back with
//! its number and a reason, and the rest is read on. [`hosts`], [`plain`] and [`jsonl`] are the formats.
//! Not here: holding names back (`protected`), sorting and duplicates (`build`).

use std::io::{self, BufRead};

use super::details::Detail;
use super::{Action, Scope};
use crate::wire::Name;

pub mod hosts;
pub mod jsonl;
pub mod plain;

mod text;

/// Longest line read, in octets, line end left out: a name is at most 255, the rest is room for comments and several names a line.
pub const MAX_LINE: usize = 4096;
/// How much of a bad line is kept for the report, in characters.
pub const MAX_SHOWN: usize = 80;
/// Longest text about an entry (who, why, where to read more), in octets.
pub const MAX_TEXT: usize = 500;
/// Lines with content that [`detect`] looks at.
const DETECT_LINES: usize = 100;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `0.0.0.0 name name`, exact names.
    Hosts,
    /// One name a line, the name and all below it.
    Plain,
    /// One JSON object a line, with provenance.
    Jsonl,
}

impl Format {
    /// Name of the format as the command line takes it.
    pub fn label(self) -> &'static str {
        match self {
            Format::Hosts => "hosts",
            Format::Plain => "plain",
            Format::Jsonl => "jsonl",
        }
    }

    /// How far a name of this format reaches when nothing else is said.
    pub fn scope(self) -> Scope {
        match self {
            Format::Hosts | Format::Jsonl => Scope::Exact,
            Format::Plain => Scope::Subtree,
        }
    }
}

/// One entry as a list states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The name.
    pub name: Name,
    /// How far it reaches.
    pub scope: Scope,
    /// Block or allow.
    pub action: Action,
    /// Line in its file, from 1.
    pub line: u32,
    /// When the name was first seen, in seconds since 1970.
    pub first_seen: Option<u64>,
    /// When the entry ends, in seconds since 1970.
    pub expires: Option<u64>,
    /// What the list says about it besides.
    pub detail: Option<Box<Detail>>,
}

impl Rule {
    /// A rule about which nothing but its place is known.
    pub fn new(name: Name, scope: Scope, action: Action, line: u32) -> Rule {
        Rule { name, scope, action, line, first_seen: None, expires: None, detail: None }
    }
}

/// Why a line, or a name on it, was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Reason {
    /// Longer than [`MAX_LINE`].
    #[error("the line is longer than {MAX_LINE} octets")]
    LineTooLong,
    /// Octets that are not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// A hosts line without a name.
    #[error("an address without a name")]
    NoName,
    /// A hosts line that does not start with an address.
    #[error("the line does not start with an address")]
    NoAddress,
    /// A hosts line that sends a name to a real address: a mapping, not a block.
    #[error("the address is not one that blocks (0.0.0.0, 127.0.0.1, :: or ::1)")]
    RealAddress,
    /// An address where a name belongs.
    #[error("an address where a name belongs")]
    Address,
    /// A URL, or a name with a path or port.
    #[error("a URL where a name belongs")]
    Url,
    /// A rule of another syntax, such as `||name^`.
    #[error("a rule of another list format")]
    OtherSyntax,
    /// More words on a plain line.
    #[error("more than one word on the line")]
    ExtraText,
    /// `a..b`, or no label at all.
    #[error("an empty label")]
    EmptyLabel,
    /// A label above 63 octets.
    #[error("a label is longer than 63 octets")]
    LabelTooLong,
    /// A name above 255 octets.
    #[error("the name is longer than 255 octets")]
    NameTooLong,
    /// A name deeper than the list file holds.
    #[error("the name has too many labels")]
    TooManyLabels,
    /// An octet that no host name has.
    #[error("a character that no listed name may have")]
    BadCharacter,
    /// A name outside ASCII that IDNA does not allow.
    #[error("not a valid internationalised name")]
    BadIdna,
    /// `*.name` where the whole list was said to be exact.
    #[error("a wildcard in a list read as exact names")]
    WildcardInExact,
    /// No JSON object of the known fields.
    #[error("not a JSON object with a name and known fields only")]
    BadJson,
    /// A time that is neither seconds nor a date in UTC.
    #[error("a time that is neither seconds since 1970 nor a date such as 2025-06-30 or 2025-06-30T12:00:00Z")]
    BadTime,
    /// A text that is too long or holds control characters.
    #[error("a text longer than {MAX_TEXT} octets, or with control characters")]
    BadText,
}

impl Reason {
    /// Label for JSON and metrics, in snake case.
    pub fn label(self) -> &'static str {
        match self {
            Reason::LineTooLong => "line_too_long",
            Reason::NotUtf8 => "not_utf8",
            Reason::NoName => "no_name",
            Reason::NoAddress => "no_address",
            Reason::RealAddress => "real_address",
            Reason::Address => "address",
            Reason::Url => "url",
            Reason::OtherSyntax => "other_syntax",
            Reason::ExtraText => "extra_text",
            Reason::EmptyLabel => "empty_label",
            Reason::LabelTooLong => "label_too_long",
            Reason::NameTooLong => "name_too_long",
            Reason::TooManyLabels => "too_many_labels",
            Reason::BadCharacter => "bad_character",
            Reason::BadIdna => "bad_idna",
            Reason::WildcardInExact => "wildcard_in_exact",
            Reason::BadJson => "bad_json",
            Reason::BadTime => "bad_time",
            Reason::BadText => "bad_text",
        }
    }
}

/// A line, or a word of one, that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Line in its file, from 1.
    pub line: u32,
    /// The offending text, cut to [`MAX_SHOWN`] characters, control characters replaced.
    pub text: String,
    /// Why.
    pub reason: Reason,
}

/// What a reader found, one call each, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// An entry.
    Rule(Rule),
    /// Something left out with a reason.
    Bad(BadLine),
    /// A name that hosts files carry for the machine itself (`localhost`), left out silently.
    Housekeeping,
}

/// How a file is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The format; `None` looks at the first lines.
    pub format: Option<Format>,
    /// How far names reach; `None` is the custom of the format.
    pub scope: Option<Scope>,
    /// What the entries ask for.
    pub action: Action,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading { format: None, scope: None, action: Action::Block }
    }
}

/// What a whole file came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The format it was read as.
    pub format: Format,
    /// Lines, empty ones and comments included.
    pub lines: u32,
    /// Octets.
    pub bytes: u64,
}

/// Reads a whole list and gives each thing found to `sink`, together with the octets read so far.
///
/// # Errors
/// Only what `input` itself reports; no content is an error.
pub fn read(mut input: impl BufRead, how: Reading, sink: &mut dyn FnMut(Found, u64)) -> io::Result<Read> {
    let format = match how.format {
        Some(format) => format,
        None => detect(input.fill_buf()?),
    };
    let (mut lines, mut bytes) = (0u32, 0u64);
    let mut line = Vec::with_capacity(256);
    while let Some(read) = next_line(&mut input, &mut line)? {
        lines = lines.saturating_add(1);
        bytes += read.octets;
        let content = if lines == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        let mut context = Context { line: lines, how, format, bytes, sink };
        if read.cut {
            context.bad(&String::from_utf8_lossy(content), Reason::LineTooLong);
            continue;
        }
        match std::str::from_utf8(content) {
            Ok(text) => match format {
                Format::Hosts => hosts::line(text, &mut context),
                Format::Plain => plain::line(text, &mut context),
                Format::Jsonl => jsonl::line(text, &mut context),
            },
            Err(_) => context.bad(&String::from_utf8_lossy(content), Reason::NotUtf8),
        }
    }
    Ok(Read { format, lines, bytes })
}

/// Reads one name as people write it, U-labels and a final dot included.
///
/// # Errors
/// Why it cannot be listed.
pub fn name(word: &str) -> Result<Name, Reason> {
    text::name(word)
}

/// Guesses the format from the first octets of a list: JSON lines where it begins with a brace, hosts where most lines start with an
/// address and go on, else plain.
pub fn detect(first: &[u8]) -> Format {
    let text = String::from_utf8_lossy(&first[..first.len().min(64 * 1024)]);
    if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
        return Format::Jsonl;
    }
    let (mut hosts, mut all) = (0, 0);
    for line in text.trim_start_matches('\u{feff}').lines().map(without_comment).filter(|l| !l.is_empty()).take(DETECT_LINES) {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().is_some_and(|w| hosts::address(w).is_some());
        hosts += usize::from(address && words.next().is_some());
        all += 1;
    }
    if hosts * 2 > all { Format::Hosts } else { Format::Plain }
}

/// A line being read: where findings go, with what belongs to every one of them.
struct Context<'a> {
    line: u32,
    how: Reading,
    format: Format,
    bytes: u64,
    sink: &'a mut dyn FnMut(Found, u64),
}

impl Context<'_> {
    fn bad(&mut self, text: &str, reason: Reason) {
        let text = text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        (self.sink)(Found::Bad(BadLine { line: self.line, text, reason }), self.bytes);
    }

    fn found(&mut self, found: Found) {
        (self.sink)(found, self.bytes);
    }

    /// One name as written, with `*.` or a leading dot where the author meant all below.
    fn name(&mut self, word: &str) {
        let bare = word.strip_prefix("*.").or_else(|| word.strip_prefix('.'));
        let scope = match (bare, self.how.scope) {
            (Some(_), Some(Scope::Exact)) => return self.bad(word, Reason::WildcardInExact),
            (Some(_), _) => Scope::Subtree,
            (None, given) => given.unwrap_or(self.format.scope()),
        };
        match text::name(bare.unwrap_or(word)) {
            Ok(name) => (self.sink)(Found::Rule(Rule::new(name, scope, self.how.action, self.line)), self.bytes),
            Err(reason) => self.bad(word, reason),
        }
    }
}

/// The line without its comment and the white space around it. `#` starts one anywhere after white space, `!` and `;` at the front.
fn without_comment(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with(['#', '!', ';']) {
        return "";
    }
    let cut = line.match_indices(['#', ';']).find(|(at, _)| line[..*at].ends_with(char::is_whitespace)).map_or(line.len(), |(at, _)| at);
    line[..cut].trim_end()
}

struct LineRead {
    octets: u64,
    cut: bool,
}

/// Reads one line without its end into `line`; what goes past [`MAX_LINE`] is passed over and the line is marked as cut.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<LineRead>> {
    line.clear();
    let mut read = LineRead { octets: 0, cut: false };
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        let end = chunk.iter().position(|&o| o == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        let room = MAX_LINE + 1 - line.len().min(MAX_LINE + 1);
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(end.is_some());
        read.octets += used as u64;
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if line.len() > MAX_LINE {
        line.truncate(MAX_LINE);
        read.cut = true;
    }
    Ok((read.octets > 0).then_some(read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Rules as name, scope and line; bad lines; names of the machine itself.
    type All = (Vec<(String, Scope, u32)>, Vec<(u32, Reason)>, usize);

    pub(super) fn found(text: &[u8], how: Reading) -> All {
        let (mut rules, mut bad, mut housekeeping) = (Vec::new(), Vec::new(), 0);
        read(text, how, &mut |found, _| match found {
            Found::Rule(r) => rules.push((r.name.to_string(), r.scope, r.line)),
            Found::Bad(b) => bad.push((b.line, b.reason)),
            Found::Housekeeping => housekeeping += 1,
        })
        .unwrap();
        (rules, bad, housekeeping)
    }

    #[test]
    fn the_format_is_seen_from_the_first_lines() {
        assert_eq!(detect(b"# list\n0.0.0.0 a.example\n0.0.0.0 b.example\n"), Format::Hosts);
        assert_eq!(detect(b"\xef\xbb\xbf127.0.0.1\ta.example"), Format::Hosts);
        assert_eq!(detect(b"a.example\n0.0.0.0.b.example\n1.2.3.4\n"), Format::Plain);
        assert_eq!(detect(b""), Format::Plain);
    }

    #[test]
    fn a_bad_line_is_reported_with_its_number_and_the_rest_is_read() {
        let mut text = b"good.example\r\nbad..example\n\n! note\n".to_vec();
        text.extend(vec![b'a'; 100_000]);
        text.extend(b"\nmore.example # why\n\xff\xfe\nlast.example");
        let (rules, bad, _) = found(&text, Reading::default());
        let names: Vec<_> = rules.iter().map(|(n, _, l)| (n.as_str(), *l)).collect();
        assert_eq!(names, [("good.example.", 1), ("more.example.", 6), ("last.example.", 8)]);
        assert_eq!(bad, [(2, Reason::EmptyLabel), (5, Reason::LineTooLong), (7, Reason::NotUtf8)]);
    }

    #[test]
    fn a_scope_given_for_the_file_wins_over_the_custom_of_the_format() {
        let exact = Reading { scope: Some(Scope::Exact), ..Reading::default() };
        let (rules, bad, _) = found(b"a.example\n*.b.example\n", exact);
        assert_eq!(rules, [("a.example.".to_owned(), Scope::Exact, 1)]);
        assert_eq!(bad, [(2, Reason::WildcardInExact)]);
        let below = Reading { scope: Some(Scope::Subtree), ..Reading::default() };
        assert_eq!(found(b"0.0.0.0 a.example\n", below).0[0].1, Scope::Subtree);
    }

    #[test]
    fn control_characters_of_a_bad_line_do_not_reach_the_report() {
        let mut shown = String::new();
        read(&b"\x1b[31m..\n"[..], Reading::default(), &mut |f, _| {
            if let Found::Bad(bad) = f {
                shown = bad.text;
            }
        })
        .unwrap();
        assert_eq!(shown, "\u{fffd}[31m..");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_the_end_and_every_rule_can_be_listed(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let read = read(&bytes[..], Reading::default(), &mut |found, _| if let Found::Rule(rule) = found {
                assert!(crate::blocklist::key::write(&rule.name, &mut Vec::new()).is_some());
            }).unwrap();
            prop_assert_eq!(read.bytes, bytes.len() as u64);
        }
    }
}

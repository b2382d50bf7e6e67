//! JSON lines: one object a line, the form that carries provenance.
//!
//! ```json
//! {"name":"usps.com-track.example","scope":"subtree","action":"block","reason":"parcel fee scam","submitter":"cirt.example",
//!  "campaign":"fee-2025-06","reference":"https://cirt.example/7","tlp":"green","first_seen":"2025-06-30","expires":"2025-12-31"}
//! ```
//! Only `name` is required; on one line, of course. Without `scope` the name is exact, without `action` it is what the file is read as.
//! Times are seconds since 1970, `YYYY-MM-DD` or `YYYY-MM-DDTHH:MM:SSZ` (RFC 3339 in UTC). An unknown field is a bad line: a misspelt
//! `expires` must not make an entry eternal.

use serde::Deserialize;

use super::{Context, Found, MAX_TEXT, Reason, Rule, text};
use crate::blocklist::details::Detail;
use crate::blocklist::{Action, Scope};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    scope: Option<Scope>,
    action: Option<Action>,
    submitter: Option<String>,
    reason: Option<String>,
    campaign: Option<String>,
    reference: Option<String>,
    tlp: Option<String>,
    first_seen: Option<Time>,
    expires: Option<Time>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Seconds(u64),
    Text(String),
}

impl Time {
    fn seconds(&self) -> Option<u64> {
        match self {
            Time::Seconds(seconds) => Some(*seconds),
            Time::Text(text) => rfc3339(text),
        }
    }
}

/// Reads one line.
pub(super) fn line(content: &str, context: &mut Context<'_>) {
    if content.trim().is_empty() {
        return;
    }
    match rule(content, context) {
        Ok(rule) => context.found(Found::Rule(rule)),
        Err(reason) => context.bad(content, reason),
    }
}

fn rule(content: &str, context: &Context<'_>) -> Result<Rule, Reason> {
    let line: Line = serde_json::from_str(content).map_err(|_| Reason::BadJson)?;
    let name = text::name(&line.name)?;
    let scope = context.how.scope.or(line.scope).unwrap_or(Scope::Exact);
    let time = |time: Option<Time>| time.map(|t| t.seconds().ok_or(Reason::BadTime)).transpose();
    let detail =
        Detail { submitter: line.submitter, reason: line.reason, campaign: line.campaign, reference: line.reference, tlp: line.tlp };
    let texts = [&detail.submitter, &detail.reason, &detail.campaign, &detail.reference, &detail.tlp];
    if texts.into_iter().flatten().any(|t| t.len() > MAX_TEXT || t.chars().any(char::is_control)) {
        return Err(Reason::BadText);
    }
    Ok(Rule {
        first_seen: time(line.first_seen)?,
        expires: time(line.expires)?,
        detail: (!detail.is_empty()).then(|| Box::new(detail)),
        ..Rule::new(name, scope, line.action.unwrap_or(context.how.action), context.line)
    })
}

/// `YYYY-MM-DD`, with or without `THH:MM:SSZ`, as seconds since 1970.
fn rfc3339(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let numbers = |text: &str, separator: char, widths: [usize; 3]| -> Option<[u64; 3]> {
        let mut parts = text.split(separator);
        let mut out = [0; 3];
        for (number, width) in out.iter_mut().zip(widths) {
            let part = parts.next()?;
            *number = (part.len() == width && part.bytes().all(|o| o.is_ascii_digit())).then(|| part.parse().ok())??;
        }
        parts.next().is_none().then_some(out)
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    if year < 1970 || !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let before: u64 = lengths[..month as usize - 1].iter().sum();
    let days = (year - 1970) * 365 + leaps(year - 1) - leaps(1969) + before + day - 1;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::super::{BadLine, Format, Reading, detect, read};
    use super::*;

    fn all(text: &str) -> (Vec<Rule>, Vec<BadLine>) {
        let (mut rules, mut bad) = (Vec::new(), Vec::new());
        assert_eq!(detect(text.as_bytes()), Format::Jsonl);
        read(text.as_bytes(), Reading::default(), &mut |found, _| match found {
            Found::Rule(rule) => rules.push(rule),
            Found::Bad(line) => bad.push(line),
            Found::Housekeeping => {}
        })
        .unwrap();
        (rules, bad)
    }

    #[test]
    fn a_line_carries_where_it_comes_from_and_how_long_it_lasts() {
        let (rules, bad) = all(concat!(
            r#"{"name":"Fee.example","scope":"subtree","reason":"parcel fee scam","submitter":"cirt","tlp":"green","first_seen":"2025-06-30","expires":"2025-12-31T12:00:01Z"}"#,
            "\n\n",
            r#"{"name":"ok.example","action":"allow","expires":1700000000}"#,
        ));
        assert!(bad.is_empty(), "{bad:?}");
        assert_eq!((rules[0].scope, rules[0].first_seen, rules[0].expires), (Scope::Subtree, Some(1_751_241_600), Some(1_767_182_401)));
        let detail = rules[0].detail.as_ref().unwrap();
        assert_eq!((detail.reason.as_deref(), detail.campaign.as_deref()), (Some("parcel fee scam"), None));
        assert_eq!(
            (rules[1].action, rules[1].scope, rules[1].expires, rules[1].line),
            (Action::Allow, Scope::Exact, Some(1_700_000_000), 3)
        );
    }

    #[test]
    fn what_is_misspelt_is_a_bad_line_not_a_guess() {
        let long = format!("{{\"name\":\"a.example\",\"reason\":\"{}\"}}", "x".repeat(MAX_TEXT + 1));
        let lines = [
            r#"{"name":"a.example","expire":"2025-12-31"}"#,
            r#"{"name":"a.example","expires":"2025-02-29"}"#,
            r#"{"name":"a..example"}"#,
            r#"{"reason":"no name"}"#,
            r#"{"name":"a.example","reason":"\u001b[31m"}"#,
            &long,
            "{",
        ];
        let (rules, bad) = all(&lines.join("\n"));
        assert!(rules.is_empty(), "{rules:?}");
        use Reason::*;
        let reasons: Vec<_> = bad.iter().map(|b| b.reason).collect();
        assert_eq!(reasons, [BadJson, BadTime, EmptyLabel, BadJson, BadText, BadText, BadJson]);
    }

    /// Days where calendars go wrong; the seconds are those of date(1).
    #[test]
    fn dates_are_counted_as_the_calendar_does() {
        for (text, seconds) in [("1970-01-01", 0), ("2000-02-29", 951_782_400), ("2000-03-01", 951_868_800), ("2100-03-01", 4_107_542_400)]
        {
            assert_eq!(rfc3339(text), Some(seconds), "{text}");
        }
        for text in [
            "1969-12-31",
            "2100-02-29",
            "2025-13-01",
            "2025-00-01",
            "2025-1-1",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:00:00",
            "+025-01-01",
            "",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }
}

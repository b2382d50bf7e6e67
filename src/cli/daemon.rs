//! The commands that are one request to the running daemon: status, why, reload, cache, block, allow, blocking, nta.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::args::{BlockingVerb, CacheVerb, NtaVerb, RuleArguments, RuleVerb, Seconds};
use super::{Failure, render};
use crate::app::place;
use crate::control::api::{Nta, Reply, Request, Rule, RuleAction, Status, TrustAnchor, Version, Why};
use crate::control::client::{self, ClientError};

/// The socket told, or the first that is there.
pub(super) fn socket(told: Option<&Path>) -> PathBuf {
    let sockets = place::sockets(&place::environment);
    match told {
        Some(told) => told.to_owned(),
        None => sockets.iter().find(|path| path.exists()).or(sockets.first()).cloned().unwrap_or_default(),
    }
}

/// One request; a refusal is a failure.
pub(super) fn ask(told: Option<&Path>, request: &Request) -> Result<Reply, Failure> {
    ask_with(told, request, &mut std::io::empty())
}

/// One request with a body.
pub(super) fn ask_with(told: Option<&Path>, request: &Request, body: &mut dyn std::io::Read) -> Result<Reply, Failure> {
    match client::ask_with(&socket(told), request, body) {
        Ok(Reply::Refused { what, hint, reason }) => {
            let reason = reason.map(|reason| format!("refused ({reason}): ")).unwrap_or_default();
            let hint = if hint.is_empty() { hint } else { format!("\nhint: {hint}") };
            Err(Failure::Failed(anyhow::anyhow!("{reason}{what}{hint}")))
        }
        Ok(reply) => Ok(reply),
        Err(error @ ClientError::NotRunning { .. }) => Err(Failure::NotRunning(error.to_string())),
        Err(error) => Err(Failure::Failed(error.into())),
    }
}

/// Another kind of reply than the request asks for.
pub(super) fn unexpected(reply: &Reply) -> Failure {
    Failure::Failed(anyhow::anyhow!("the daemon replied with something else: {reply:?}\nhint: it may be of another version"))
}

/// A request whose reply is a sentence.
pub(super) fn done(told: Option<&Path>, request: &Request, out: &mut dyn Write) -> Result<(), Failure> {
    match ask(told, request)? {
        Reply::Done { said } => Ok(writeln!(out, "{said}")?),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn status(told: Option<&Path>, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let Reply::Status(status) = expect(ask(told, &Request::Status)?, |r| matches!(r, Reply::Status(_)))? else { return Ok(()) };
    if json {
        return render::json(out, &serde_json::to_value(&*status).map_err(anyhow::Error::from)?);
    }
    show_status(&status, super::wall(), out)
}

fn expect(reply: Reply, is: impl Fn(&Reply) -> bool) -> Result<Reply, Failure> {
    if is(&reply) { Ok(reply) } else { Err(unexpected(&reply)) }
}

fn show_status(status: &Status, now: u64, out: &mut dyn Write) -> Result<(), Failure> {
    let up = render::span(now.saturating_sub(status.started));
    writeln!(out, "postern {}, process {}, up {up}, {} queries", status.version, status.pid, status.queries)?;
    let blocking = &status.blocking;
    match blocking.off_until {
        Some(until) => {
            let why = blocking.off_why.as_deref().unwrap_or_default();
            writeln!(out, "NOTHING IS BLOCKED: blocking is off until {}: {why}", render::moment(until))?;
        }
        None if blocking.lists.is_empty() && blocking.block_rules == 0 => {
            writeln!(out, "NOTHING IS BLOCKED: there is no list; `postern blocklist push FILE` gives one")?;
        }
        None if blocking.lists.is_empty() => writeln!(out, "no list: only the names of `postern block list` are blocked")?,
        None => {}
    }
    for list in &blocking.lists {
        let Version { list, serial, names, built, signers, .. } = list;
        writeln!(out, "list {list} serial {serial}: {names} names, built {}, signed by {}", render::moment(*built), signers.join(", "))?;
    }
    writeln!(out, "own rules: {} block, {} allow", status.blocking.block_rules, status.blocking.allow_rules)?;
    writeln!(out, "clients ask at {}", render::list(&status.listening))?;
    for route in &status.routes {
        writeln!(out, "{route}")?;
    }
    if status.trust_anchors.is_empty() {
        writeln!(out, "no trust anchor: nothing is validated")?;
    }
    for anchor in &status.trust_anchors {
        show_anchor(anchor, out)?;
    }
    for nta in &status.ntas {
        write!(out, "not validated: ")?;
        show_nta(nta, out)?;
    }
    if let Some(metrics) = status.metrics {
        writeln!(out, "metrics at http://{metrics}/metrics")?;
    }
    let config = status.config.as_ref().map_or("the defaults".into(), |path| path.display().to_string());
    writeln!(out, "configuration: {config}; state in {}", status.state_dir.display())?;
    for warning in &status.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(())
}

fn show_anchor(anchor: &TrustAnchor, out: &mut dyn Write) -> Result<(), Failure> {
    let keys: Vec<String> = anchor
        .keys
        .iter()
        .map(|key| format!("key {} {} since {}", key.tag, key.state.replace('_', " "), render::moment(key.since)))
        .collect();
    let keys = if keys.is_empty() { format!("{} as configured", anchor.configured) } else { render::list(&keys) };
    let next = anchor.next_check.map_or(String::new(), |at| format!("; looked at next {}", render::moment(at)));
    Ok(writeln!(out, "trust anchors at {}: {keys}{next}", anchor.zone)?)
}

pub(super) fn why(told: Option<&Path>, request: &Request, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let Reply::Why(why) = expect(ask(told, request)?, |r| matches!(r, Reply::Why(_)))? else { return Ok(()) };
    if json {
        return render::json(out, &serde_json::to_value(&*why).map_err(anyhow::Error::from)?);
    }
    show_why(&why, out)
}

fn show_why(why: &Why, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "{} {}: {}", why.name, why.rtype, why.verdict)?;
    if !why.served {
        writeln!(out, "  {} is not served: access.allow has no network that it is in", why.client)?;
    }
    for because in &why.because {
        writeln!(out, "  {because}")?;
    }
    if let Some(resolved) = &why.resolved {
        writeln!(out, "resolved: {}, {}", resolved.rcode, resolved.status)?;
        for words in resolved.errors.iter().chain(&resolved.chain).chain(&resolved.asked) {
            writeln!(out, "  {words}")?;
        }
    }
    Ok(())
}

pub(super) fn cache(told: Option<&Path>, verb: CacheVerb, out: &mut dyn Write) -> Result<(), Failure> {
    match verb {
        CacheVerb::Flush { name } => done(told, &Request::CacheFlush { name }, out),
    }
}

pub(super) fn rules(told: Option<&Path>, action: RuleAction, verb: RuleVerb, out: &mut dyn Write) -> Result<(), Failure> {
    match verb {
        RuleVerb::Add(RuleArguments { name, seconds, why, exact, .. }) => {
            let seconds = seconds.map(|Seconds(seconds)| seconds);
            done(told, &Request::RuleAdd { action, name, subtree: !exact, seconds, why }, out)
        }
        RuleVerb::Remove { name } => done(told, &Request::RuleRemove { action, name }, out),
        RuleVerb::List { json } => {
            let reply = expect(ask(told, &Request::RuleList { action })?, |r| matches!(r, Reply::Rules(_)))?;
            let Reply::Rules(rules) = reply else { return Ok(()) };
            if json {
                return render::json(out, &serde_json::to_value(&rules).map_err(anyhow::Error::from)?);
            }
            for rule in &rules {
                show_rule(rule, out)?;
            }
            Ok(())
        }
    }
}

fn show_rule(rule: &Rule, out: &mut dyn Write) -> Result<(), Failure> {
    let reach = if rule.subtree { "and all below" } else { "alone" };
    let until = render::until(rule.until);
    Ok(writeln!(out, "{} {reach} {until}: {} ({}, {})", rule.name, rule.why, rule.by, render::moment(rule.made))?)
}

pub(super) fn blocking(told: Option<&Path>, verb: BlockingVerb, out: &mut dyn Write) -> Result<(), Failure> {
    match verb {
        BlockingVerb::Off { seconds: Seconds(seconds), why } => done(told, &Request::BlockingOff { seconds, why }, out),
        BlockingVerb::On => done(told, &Request::BlockingOn, out),
    }
}

pub(super) fn versions(versions: &[Version], json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        return render::json(out, &serde_json::to_value(versions).map_err(anyhow::Error::from)?);
    }
    for version in versions {
        show_version(version, out)?;
    }
    Ok(())
}

pub(super) fn show_version(version: &Version, out: &mut dyn Write) -> Result<(), Failure> {
    let Version { list, serial, names, octets, built, active, signers } = version;
    let mark = if *active { "active" } else { "kept  " };
    let (built, signers) = (render::moment(*built), signers.join(", "));
    Ok(writeln!(out, "{mark} {list} serial {serial}: {names} names, {octets} octets, built {built}, signed by {signers}")?)
}

pub(super) fn nta(told: Option<&Path>, verb: NtaVerb, out: &mut dyn Write) -> Result<(), Failure> {
    let json = match verb {
        NtaVerb::Add { zone, seconds: Seconds(seconds), why } => return done(told, &Request::NtaAdd { zone, seconds, why }, out),
        NtaVerb::Remove { zone } => return done(told, &Request::NtaRemove { zone }, out),
        NtaVerb::List { json } => json,
    };
    let Reply::Ntas(ntas) = expect(ask(told, &Request::NtaList)?, |r| matches!(r, Reply::Ntas(_)))? else { return Ok(()) };
    if json {
        return render::json(out, &serde_json::to_value(&ntas).map_err(anyhow::Error::from)?);
    }
    ntas.iter().try_for_each(|nta| show_nta(nta, out))
}

fn show_nta(nta: &Nta, out: &mut dyn Write) -> Result<(), Failure> {
    let by = nta.by.as_deref().unwrap_or("the configuration");
    Ok(writeln!(out, "{} and all below {}: {} ({by})", nta.zone, render::until(nta.until), nta.reason)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::Blocking;

    fn shown(blocking: Blocking) -> String {
        let status = Status {
            version: "0.1.0".into(),
            pid: 7,
            started: 1000,
            config: None,
            state_dir: "/s".into(),
            listening: vec!["127.0.0.1:53".parse().unwrap()],
            metrics: None,
            blocking,
            clock_trusted: true,
            trust_anchors: vec![TrustAnchor { zone: ".".into(), configured: 2, keys: Vec::new(), validated: None, next_check: None }],
            ntas: Vec::new(),
            routes: Vec::new(),
            queries: 5,
            warnings: vec!["the clock stands".into()],
        };
        let mut out = Vec::new();
        show_status(&status, 1000 + 3 * 3600 + 5 * 60, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn without_a_list_the_status_says_so_aloud() {
        let none = Blocking { lists: Vec::new(), block_rules: 0, allow_rules: 0, off_until: None, off_why: None };
        let text = shown(none.clone());
        assert!(text.starts_with("postern 0.1.0, process 7, up 3h 5m, 5 queries\nNOTHING IS BLOCKED: there is no list"), "{text}");
        assert!(text.ends_with("warning: the clock stands\n"));
        let list = Version { list: "scam".into(), serial: 4, names: 9, octets: 1, built: 0, active: true, signers: vec!["KEY".into()] };
        assert!(shown(Blocking { lists: vec![list.clone()], ..none.clone() }).contains("\nlist scam serial 4: 9 names, built 1970"));
        let off = Blocking { lists: vec![list], off_until: Some(86_400), off_why: Some("test".into()), ..none };
        assert!(shown(off).contains("NOTHING IS BLOCKED: blocking is off until 1970-01-02 00:00:00 UTC: test"));
    }
}

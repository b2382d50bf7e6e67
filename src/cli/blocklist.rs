//! `postern blocklist …`: building and looking at list files here, pushing and rolling back at the daemon.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, IsTerminal as _, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::args::{BlocklistVerb, BuildArguments};
use super::{Failure, daemon, render, sign};
use crate::blocklist::build::{self, Options, Progress, Report, Source};
use crate::blocklist::parse::Reading;
use crate::blocklist::{Action, List, Protected, Scope};
use crate::control::api::{Reply, Request};
use crate::wire::Name;

/// Bad lines and held names printed as text; `--json` and `--all` give more.
const SHOWN: usize = 20;

pub(super) fn run(socket: Option<&Path>, verb: BlocklistVerb, out: &mut dyn Write) -> Result<(), Failure> {
    match verb {
        BlocklistVerb::Build(arguments) => build(&arguments, out),
        BlocklistVerb::Show { file, names, json } => show(&file, names, json, out),
        BlocklistVerb::Sign { file, keys, password_file } => sign::sign(&file, &keys, password_file.as_deref(), out),
        BlocklistVerb::Push { file, dry_run, force, why } => push(socket, &file, dry_run, why.filter(|_| force), out),
        BlocklistVerb::Rollback { list, serial } => activated(daemon::ask(socket, &Request::Rollback { list, serial })?, out),
        BlocklistVerb::Versions { json } => match daemon::ask(socket, &Request::Versions)? {
            Reply::Versions(versions) => daemon::versions(&versions, json, out),
            other => Err(daemon::unexpected(&other)),
        },
    }
}

/// The daemon judges the file, so that there is one place that says no and counts it.
fn push(socket: Option<&Path>, path: &Path, dry_run: bool, force: Option<String>, out: &mut dyn Write) -> Result<(), Failure> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let octets = file.metadata()?.len();
    let request = Request::Push { octets, signatures: sign::signatures(path)?, dry_run, force };
    let bar = Bar::new(octets);
    bar.bar.set_length(octets);
    bar.bar.set_message("pushing");
    let reply = daemon::ask_with(socket, &request, &mut bar.bar.wrap_read(file));
    bar.finish();
    activated(reply?, out)
}

fn activated(reply: Reply, out: &mut dyn Write) -> Result<(), Failure> {
    match reply {
        Reply::Activated(version) => daemon::show_version(&version, out),
        Reply::Done { said } => Ok(writeln!(out, "{said}")?),
        other => Err(daemon::unexpected(&other)),
    }
}

fn build(arguments: &BuildArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let created = super::wall();
    let id = match &arguments.id {
        Some(id) => id.clone(),
        None => arguments.out.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    if !build::is_id(&id) {
        return Err(Failure::Usage(format!("{id:?} cannot be the id of a list\nhint: give --id with letters, digits, '-', '_' and '.'")));
    }
    // Seconds since 1970 grow with every update and tell a person when the list was made.
    let mut options = Options::new(id, arguments.serial.unwrap_or(created), created);
    options.expires = arguments.expires_days.map(|days| created + days * 86_400);
    options.not_before = arguments.not_before_days.map(|days| created + days * 86_400);
    options.about = arguments.about.clone().unwrap_or_default();
    options.accept = names(&arguments.accept)?.into_iter().collect::<HashSet<Name>>();
    options.protected = protected(arguments)?;
    let scope = match (arguments.exact, arguments.subtree) {
        (true, _) => Some(Scope::Exact),
        (_, true) => Some(Scope::Subtree),
        _ => None,
    };
    let mut sources = Vec::new();
    let mut octets = 0;
    for (path, action) in arguments.files.iter().map(|p| (p, Action::Block)).chain(arguments.allow.iter().map(|p| (p, Action::Allow))) {
        let (source, length) = open(path, Reading { format: arguments.format.map(Into::into), scope, action })?;
        octets += length;
        sources.push(source);
    }
    let mut silence = std::io::sink();
    let labels: Vec<String> = sources.iter().map(|s| s.name.clone()).collect();
    let bar = Bar::new(octets);
    let report = build::build(sources, &options, &arguments.out, &mut |progress| bar.show(progress)).map_err(anyhow::Error::from)?;
    bar.finish();
    sign::forget(&arguments.out)?;
    sign::sign(&arguments.out, &arguments.sign, None, if arguments.json { &mut silence } else { &mut *out })?;
    if arguments.json {
        return render::json(out, &report_json(&arguments.out, &options, &report, &labels));
    }
    print(&arguments.out, &options, &report, &labels, arguments.all, out)
}

fn names(texts: &[String]) -> Result<Vec<Name>, Failure> {
    texts.iter().map(|t| t.parse().map_err(|e| Failure::Usage(format!("{t:?} is no domain name: {e}")))).collect()
}

fn protected(arguments: &BuildArguments) -> Result<Protected, Failure> {
    let mut protected = match &arguments.critical {
        None => Protected::shipped(),
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Protected::with_critical(&text).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))?
        }
    };
    protected.add_own(&names(&arguments.own)?).map_err(|e| Failure::Usage(e.to_string()))?;
    Ok(protected)
}

/// A source and its length, 0 where it is not known.
fn open(path: &Path, reading: Reading) -> anyhow::Result<(Source<'static>, u64)> {
    if path == Path::new("-") {
        let text = Box::new(BufReader::with_capacity(1 << 18, std::io::stdin()));
        return Ok((Source { name: "stdin".into(), text, reading }, 0));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let facts = file.metadata()?;
    if facts.is_dir() {
        bail!("{} is a folder", path.display());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((Source { name, text: Box::new(BufReader::with_capacity(1 << 18, file)), reading }, facts.len()))
}

/// A bar on a terminal, nothing in a pipe.
struct Bar {
    bar: ProgressBar,
    octets: u64,
}

impl Bar {
    fn new(octets: u64) -> Bar {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(1) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{msg:>9} [{wide_bar}] {percent}%").expect("a fixed template");
        bar.set_style(style);
        Bar { bar, octets }
    }

    fn show(&self, progress: Progress) {
        let (step, done, of) = match progress {
            Progress::Reading { bytes } => ("reading", bytes, self.octets),
            Progress::Writing { done, of } => ("writing", done, of),
            Progress::Filtering { done, of } => ("filter", done, of),
        };
        self.bar.set_message(step);
        self.bar.set_length(of.max(done).max(1));
        self.bar.set_position(done);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn print(path: &Path, options: &Options, report: &Report, sources: &[String], all: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let counts = &report.counts;
    writeln!(out, "{}: list {} serial {}, {} octets", path.display(), options.id, options.serial, report.file_bytes)?;
    writeln!(out, "  {} names blocked exactly, {} with all below", counts.block_exact, counts.block_subtree)?;
    if counts.allow_exact + counts.allow_subtree > 0 {
        writeln!(out, "  {} names allowed exactly, {} with all below", counts.allow_exact, counts.allow_subtree)?;
    }
    writeln!(out, "  {} duplicates, {} names of the machine itself left out", counts.duplicates, report.housekeeping)?;
    let limit = if all { usize::MAX } else { SHOWN };
    writeln!(out, "  {} lines left out", counts.bad_lines)?;
    for (source, bad) in report.bad_lines.iter().take(limit) {
        writeln!(out, "    {}:{}: {}: {}", sources[*source], bad.line, bad.reason, bad.text)?;
    }
    more(report.bad_lines.len(), counts.bad_lines, limit, out)?;
    writeln!(out, "  {} names held back", counts.held_back)?;
    for held in report.held_back.iter().take(limit) {
        writeln!(out, "    {} ({}:{}): {}", held.name, sources[held.source], held.line, held.why)?;
    }
    more(report.held_back.len(), counts.held_back, limit, out)?;
    for name in &report.accepted {
        writeln!(out, "  let in although protected: {name} (exact only)")?;
    }
    Ok(())
}

fn more(kept: usize, counted: u64, limit: usize, out: &mut dyn Write) -> Result<(), Failure> {
    let rest = counted - kept.min(limit) as u64;
    if rest > 0 {
        let hint = if kept > limit { "; --all shows them" } else { "" };
        writeln!(out, "    … and {rest} more{hint}")?;
    }
    Ok(())
}

fn report_json(path: &Path, options: &Options, report: &Report, sources: &[String]) -> serde_json::Value {
    let bad = report
        .bad_lines
        .iter()
        .map(|(source, bad)| json!({"source": sources[*source], "line": bad.line, "text": bad.text, "reason": bad.reason.label()}));
    let held = report.held_back.iter().map(|held| {
        json!({
            "name": held.name.to_string(), "source": sources[held.source], "line": held.line, "reason": held.why.label(),
            "why": held.why.to_string(),
        })
    });
    let by_reason: serde_json::Map<String, serde_json::Value> =
        report.bad_by_reason.iter().map(|(reason, count)| (reason.label().to_owned(), (*count).into())).collect();
    json!({
        "file": path, "id": options.id, "serial": options.serial, "octets": report.file_bytes, "counts": report.counts,
        "housekeeping": report.housekeeping, "bad_lines": bad.collect::<Vec<_>>(), "bad_by_reason": by_reason,
        "held_back": held.collect::<Vec<_>>(), "accepted": report.accepted.iter().map(Name::to_string).collect::<Vec<_>>(),
    })
}

fn show(path: &Path, names: bool, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let list = List::open(path).with_context(|| path.display().to_string())?;
    list.verify().with_context(|| path.display().to_string())?;
    if names {
        for entry in list.entries() {
            let (name, entry) = entry.with_context(|| path.display().to_string())?;
            let source = &list.manifest().sources[usize::from(entry.source)].name;
            let (action, scope) = (entry.action.label(), entry.scope.label());
            if json {
                let line = json!({"name": name.to_string(), "action": action, "scope": scope, "source": source, "line": entry.line});
                writeln!(out, "{line}")?;
            } else {
                writeln!(out, "{action}\t{scope}\t{name}\t{source}:{}", entry.line)?;
            }
        }
        return Ok(());
    }
    let digest: String = list.digest().iter().map(|octet| format!("{octet:02x}")).collect();
    let manifest = list.manifest();
    if json {
        let mut value = serde_json::to_value(manifest).map_err(anyhow::Error::from)?;
        value["octets"] = list.file_bytes().into();
        value["digest"] = digest.into();
        return render::json(out, &value);
    }
    writeln!(out, "{}: whole and sound", path.display())?;
    writeln!(out, "  list {} serial {}, built {}", manifest.id, manifest.serial, render::moment(manifest.created))?;
    if let Some(expires) = manifest.expires {
        writeln!(out, "  not to be accepted after {}", render::moment(expires))?;
    }
    if !manifest.about.is_empty() {
        writeln!(out, "  about: {}", manifest.about)?;
    }
    let counts = &manifest.counts;
    writeln!(out, "  {} names blocked exactly, {} with all below", counts.block_exact, counts.block_subtree)?;
    writeln!(out, "  {} names allowed exactly, {} with all below", counts.allow_exact, counts.allow_subtree)?;
    writeln!(out, "  {} held back, {} let in although protected, {} lines left out", counts.held_back, counts.accepted, counts.bad_lines)?;
    for source in &manifest.sources {
        writeln!(out, "  from {} ({}, {} lines, {} rules)", source.name, source.format.label(), source.lines, source.rules)?;
    }
    Ok(writeln!(out, "  {} octets, digest {digest}", list.file_bytes())?)
}

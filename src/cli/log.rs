//! `postern log …`: the audit log, shown and checked. The check is made here, not by the daemon that wrote it.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;

use super::args::LogVerb;
use super::{Failure, daemon, render};
use crate::control::api::{Reply, Request};
use crate::control::audit::{self, Entry};

pub(super) fn run(socket: Option<&Path>, verb: LogVerb, out: &mut dyn Write) -> Result<(), Failure> {
    match verb {
        LogVerb::Show { last, json } => {
            let text = fetch(socket)?;
            let skipped = last.map_or(0, |last| text.lines().count().saturating_sub(last));
            text.lines().skip(skipped).try_for_each(|line| match serde_json::from_str::<Entry>(line) {
                Ok(entry) if !json => show(&entry, out),
                _ => Ok(writeln!(out, "{line}")?),
            })
        }
        LogVerb::Verify { file, head } => {
            let text = match file {
                Some(path) => std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?,
                None => fetch(socket)?,
            };
            let entries = audit::verify(&text)?;
            if let Some(head) = &head {
                find(&entries, head)?;
            }
            match entries.last() {
                Some(last) => Ok(writeln!(out, "{} entries, unbroken; the newest is {}:{}", entries.len(), last.number, last.hash)?),
                None => Ok(writeln!(out, "the log is empty")?),
            }
        }
    }
}

fn fetch(socket: Option<&Path>) -> Result<String, Failure> {
    match daemon::ask(socket, &Request::Log)? {
        Reply::Log(text) => Ok(text),
        other => Err(daemon::unexpected(&other)),
    }
}

fn show(entry: &Entry, out: &mut dyn Write) -> Result<(), Failure> {
    let Entry { number, time, uid, asked, outcome, .. } = entry;
    let outcome = outcome.replace('\n', "; ");
    Ok(writeln!(out, "{number} {} uid {uid}: {} -> {outcome}", render::moment(*time), asked.replace('\n', " "))?)
}

fn find(entries: &[Entry], head: &str) -> Result<(), Failure> {
    let parts = head.split_once(':').and_then(|(number, hash)| Some((number.parse::<u64>().ok()?, hash)));
    let (number, hash) = parts.filter(|(_, hash)| hash.len() >= 12).ok_or_else(|| {
        Failure::Usage(format!("{head:?} is no entry\nhint: write its number and at least 12 digits of its hash, as in 17:8f3a12bc90de"))
    })?;
    match entries.iter().find(|entry| entry.number == number) {
        Some(entry) if entry.hash.starts_with(hash) => Ok(()),
        Some(_) => Err(Failure::Failed(anyhow::anyhow!("entry {number} is another: the log was written anew"))),
        None => Err(Failure::Failed(anyhow::anyhow!("entry {number} is not there: the log was cut"))),
    }
}

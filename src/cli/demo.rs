//! `postern demo`: the whole of postern on a miniature internet, on this machine and nowhere else.
//!
//! The miniature internet, the daemon and a client that asks telling questions, over real UDP and TCP. What must come back follows
//! from what is wrong with each zone, so that the table judges itself; `--once` gives the judgement as an exit code.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::query::{self, Ask, Exchange};
use super::{Failure, render};
use crate::app::{Options, Prepared, Running, place};
use crate::blocklist::build::{self, Source};
use crate::blocklist::parse::Reading;
use crate::config;
use crate::control::api::{Reply, Request};
use crate::control::client;
use crate::lab::demo::{DemoExpect, DemoQuestion, Script};
use crate::lab::{Internet, Security};
use crate::wire::{Ede, Edns, Flags, Message, Rcode, Rtype};

/// Time for queries under way at the end.
const DRAIN: Duration = Duration::from_secs(1);

pub(super) fn run(seed: u64, once: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let folder = Folder::new()?;
    let internet = Internet::build(seed, super::wall());
    let script = Script::new(&internet);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let served = internet.start(None).await.context("the miniature internet cannot be served on loopback addresses")?;
        let config =
            config::from_text("demo", &configuration(&script, served.port, &folder.0), None).map_err(|p| Failure::Usage(p.to_string()))?;
        let running = Prepared::with(Options::default(), config).and_then(Prepared::start).map_err(anyhow::Error::from)?;
        let result = match show(&script, &running, seed, &folder.0, out) {
            Ok(wrong) if !once => stay(wrong, out).await,
            Ok(0) => Ok(()),
            Ok(wrong) => Err(Failure::Failed(anyhow::anyhow!("{wrong} of {} answers are not as expected", script.questions.len()))),
            Err(failure) => Err(failure),
        };
        running.stop(DRAIN).await;
        served.stop().await;
        result
    })
}

async fn stay(wrong: usize, out: &mut dyn Write) -> Result<(), Failure> {
    if wrong > 0 {
        writeln!(out, "\n{wrong} answers are not as expected.")?;
    }
    writeln!(out, "\nIt stays up until Ctrl-C.")?;
    out.flush()?;
    Ok(tokio::signal::ctrl_c().await?)
}

/// The daemon's state, gone with the demo.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Folder> {
        let path = std::env::temp_dir().join(format!("postern-demo-{}", std::process::id()));
        place::make_private(&path).with_context(|| path.display().to_string())?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the temporary directory is small and harmless.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn configuration(script: &Script, port: u16, folder: &Path) -> String {
    let hints = script
        .hints
        .iter()
        .flat_map(|(name, addresses)| addresses.iter().map(move |a| format!("\"{name} {} {a}\"", if a.is_ipv4() { "A" } else { "AAAA" })));
    let anchors = script.anchors.iter().map(|anchor| format!("\"{anchor}\""));
    format!(
        "state_dir = {folder:?}\n\
         [listen]\naddresses = [\"127.0.0.1:0\"]\n\
         [resolve]\nroot_hints = [{}]\nupstream_port = {port}\nloopback_upstream = true\nipv6 = false\n\
         [validate]\nbuiltin_anchors = false\nanchors = [{}]\n\
         [metrics]\naddress = \"127.0.0.1:0\"\n",
        hints.collect::<Vec<_>>().join(", "),
        anchors.collect::<Vec<_>>().join(", "),
    )
}

/// Asks everything and prints the table. Gives the number of answers that are not as expected.
fn show(script: &Script, running: &Running, seed: u64, folder: &Path, out: &mut dyn Write) -> Result<usize, Failure> {
    let server = running.local_addrs()[0];
    let names = tokio::task::block_in_place(|| push(script, running, folder))?;
    writeln!(out, "A miniature internet (seed {seed}), a list of {names} real scam hosts, and postern at {server}:\n")?;
    let rows = script.questions.iter().map(|question| question.name.to_string().len() + question.rtype.to_string().len() + 1);
    let width = rows.max().unwrap_or(0);
    writeln!(out, "{:width$}  {:30}  {:9}  {:>8}  why", "question", "answer", "verdict", "time")?;
    let mut wrong = 0;
    for question in &script.questions {
        let ask = Ask { name: question.name.clone(), rtype: question.rtype, dnssec_ok: false, checking_disabled: false, tcp: false };
        let exchange = tokio::task::block_in_place(|| query::ask_server(server, &ask))?;
        let mark = if is_expected(question, &exchange.message) { "" } else { "   <-- not as expected" };
        wrong += usize::from(!mark.is_empty());
        let asked = format!("{} {}", question.name, question.rtype);
        let (answer, verdict, took) = (answer(&exchange, question.rtype), verdict(&exchange.message), render::duration(exchange.took));
        writeln!(out, "{asked:width$}  {answer:30}  {verdict:9}  {took:>8}  {}{mark}", why(question, &exchange.message))?;
        out.flush()?;
    }
    try_it(script, running, server, out)?;
    if wrong == 0 {
        writeln!(out, "\nAll {} answers are as expected.", script.questions.len())?;
    }
    Ok(wrong)
}

/// Builds the sample into a list and pushes it the way a curator does. Gives the number of names.
fn push(script: &Script, running: &Running, folder: &Path) -> anyhow::Result<u64> {
    let path = folder.join("demo.plist");
    let now = super::wall();
    let text = Box::new(script.blocklist_text.as_bytes());
    let source = Source { name: "sample".into(), text, reading: Reading::default() };
    build::build(vec![source], &build::Options::new("demo", now, now), &path, &mut |_| {})?;
    let mut file = std::fs::File::open(&path)?;
    let request = Request::push(file.metadata()?.len());
    match client::ask_with(running.control_path(), &request, &mut file)? {
        Reply::Activated(version) => Ok(version.names),
        other => anyhow::bail!("the list is not taken: {other:?}"),
    }
}

fn try_it(script: &Script, running: &Running, server: SocketAddr, out: &mut dyn Write) -> Result<(), Failure> {
    let (address, port) = (server.ip(), server.port());
    writeln!(out, "\nTry it:")?;
    let verdicts = [DemoQuestion::is_blocked as fn(&DemoQuestion) -> bool, DemoQuestion::is_secure, DemoQuestion::is_bogus];
    for is in verdicts {
        if let Some(question) = script.questions.iter().find(|q| is(q)) {
            writeln!(out, "  dig @{address} -p {port} +dnssec {} {}", question.name, question.rtype)?;
        }
    }
    if let Some(question) = script.questions.iter().find(|q| q.is_bogus()) {
        writeln!(out, "  postern --socket {} why {} {}", running.control_path().display(), question.name, question.rtype)?;
    }
    if let Some(metrics) = running.metrics_address() {
        writeln!(out, "  curl http://{metrics}/metrics")?;
    }
    Ok(())
}

impl DemoQuestion {
    fn security(&self) -> Option<Security> {
        match self.expect {
            DemoExpect::Answered(expect) => Some(expect.security),
            DemoExpect::Blocked => None,
        }
    }

    fn is_blocked(&self) -> bool {
        self.security().is_none()
    }

    fn is_secure(&self) -> bool {
        self.security() == Some(Security::Secure)
    }

    fn is_bogus(&self) -> bool {
        self.security() == Some(Security::Bogus)
    }
}

fn errors(message: &Message) -> Vec<Ede> {
    message.edns.iter().flat_map(Edns::extended_errors).collect()
}

/// EDE codes that say a proof is broken (RFC 8914 sections 4.7 to 4.13, and those registered later).
fn is_bogus(code: u16) -> bool {
    matches!(code, 6..=12 | 25 | 27)
}

fn verdict(message: &Message) -> &'static str {
    let errors = errors(message);
    match message.rcode() {
        _ if errors.iter().any(|e| e.code == 15) => "Blocked",
        Rcode::SERVFAIL if errors.iter().any(|e| is_bogus(e.code)) => "Bogus",
        Rcode::SERVFAIL => "no answer",
        _ if message.flags.has(Flags::AD) => "Secure",
        _ => "Insecure",
    }
}

fn answer(exchange: &Exchange, rtype: Rtype) -> String {
    let message = &exchange.message;
    let records: Vec<_> = message.answer.iter().filter(|record| record.rtype == rtype).collect();
    match records[..] {
        [] => message.rcode().to_string(),
        [only] => render::rdata(rtype, &only.rdata),
        [first, ..] => format!("{} and {} more", render::rdata(rtype, &first.rdata), records.len() - 1),
    }
}

fn why(question: &DemoQuestion, message: &Message) -> String {
    match errors(message).first() {
        Some(error) => format!("{}: {} (EDE {})", question.title, query::error_words(error), error.code),
        None => question.title.to_owned(),
    }
}

fn is_expected(question: &DemoQuestion, message: &Message) -> bool {
    let codes: Vec<u16> = errors(message).iter().map(|error| error.code).collect();
    match question.expect {
        DemoExpect::Blocked => message.rcode() == Rcode::NXDOMAIN && codes.contains(&15) && !message.flags.has(Flags::AD),
        DemoExpect::Answered(expect) => {
            let verdict = match expect.security {
                Security::Secure => "Secure",
                Security::Insecure => "Insecure",
                Security::Bogus => "Bogus",
                Security::Unreachable => "no answer",
            };
            let told = expect.ede.is_empty() || expect.ede.iter().any(|code| codes.contains(code));
            message.rcode() == expect.rcode && self::verdict(message) == verdict && told
        }
    }
}

//! `postern sensor status`: how a running sensor is, on one screen.

use std::io::{Read as _, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::super::{Failure, render};
use super::run::Status;
use super::sockets;

/// Longest wait for the sensor.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer: ten findings and ten clients are a few KiB.
const ANSWER: u64 = 1 << 20;

pub(super) fn run(socket: Option<&Path>, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let paths = sockets(socket);
    let Some(stream) = paths.iter().find_map(|path| UnixStream::connect(path).ok()) else {
        let tried: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(Failure::NotRunning(format!(
            "no sensor answers at {}\nhint: start one with postern sensor run -i INTERFACE",
            tried.join(" or ")
        )));
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.take(ANSWER).read_to_string(&mut text)?;
    if json {
        return render::json(out, &serde_json::from_str(&text)?);
    }
    let status: Status = serde_json::from_str(&text).context("the sensor's answer is not understood; is it another version?")?;
    show(&status, out)
}

fn show(status: &Status, out: &mut dyn Write) -> Result<(), Failure> {
    let since = render::moment(status.since as u64);
    let troubles: Vec<String> = status.interfaces.iter().filter_map(|i| Some(format!("{}: {}", i.name, i.trouble.as_ref()?))).collect();
    let dropped: u64 = status.interfaces.iter().map(|interface| interface.dropped).sum();
    match (troubles.is_empty(), dropped + status.lines_dropped) {
        (true, 0) => writeln!(out, "watching since {since}, nothing lost")?,
        (true, _) => writeln!(out, "watching since {since}, with losses")?,
        (false, _) => writeln!(out, "in trouble: {}", troubles.join("; "))?,
    }
    for interface in &status.interfaces {
        let silent = interface
            .last_frame
            .map_or_else(|| "no frame yet".to_owned(), |last| format!("last {:.0} s ago", (status.now - last).max(0.0)));
        writeln!(out, "{:<12}  {} frames, {} dropped by the kernel, {silent}", interface.name, interface.frames, interface.dropped)?;
    }
    let endings: Vec<String> = status.endings.iter().map(|(ending, count)| format!("{count} {ending}")).collect();
    writeln!(out, "messages      {} queries, {} responses, {} malformed", status.queries, status.responses, status.malformed)?;
    writeln!(out, "transactions  {}", endings.join(", "))?;
    if status.lines_dropped > 0 {
        writeln!(out, "not written   {} lines: the disk or the reader is too slow", status.lines_dropped)?;
    }
    let bypasses: Vec<String> =
        status.bypasses.iter().filter(|(_, count)| **count > 0).map(|(means, count)| format!("{means} {count}")).collect();
    writeln!(out, "bypass        {}", if bypasses.is_empty() { "none seen".to_owned() } else { bypasses.join(", ") })?;
    for (client, count) in &status.clients {
        writeln!(out, "              {client} {count} times")?;
    }
    for finding in &status.recent {
        writeln!(out, "  {finding}")?;
    }
    Ok(())
}

//! `postern config check|show|schema`: needs no daemon.

use std::io::Write;

use serde_json::json;

use super::Failure;
use super::args::ConfigVerb;
use super::render;
use crate::config::schema::{KEYS, REPEATED};
use crate::config::{self, Config, schema};

pub(super) fn run(verb: ConfigVerb, out: &mut dyn Write) -> Result<(), Failure> {
    match verb {
        ConfigVerb::Check { file } => {
            config::from_file(&file).map_err(|problems| Failure::Usage(problems.to_string()))?;
            Ok(writeln!(out, "{}: fine", file.display())?)
        }
        ConfigVerb::Show { file, json } => {
            let config = match file {
                Some(file) => config::from_file(&file).map_err(|problems| Failure::Usage(problems.to_string()))?,
                None => Config::default(),
            };
            show(&config, json, out)
        }
        ConfigVerb::Schema { toml: true, .. } => Ok(out.write_all(schema::example().as_bytes())?),
        ConfigVerb::Schema { json, .. } => list(json, out),
    }
}

fn show(config: &Config, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let routes = |zone: &crate::wire::Name, servers: &[std::net::SocketAddr]| json!({"zone": zone.to_string(), "servers": servers});
    if json {
        let keys: serde_json::Map<String, serde_json::Value> =
            config.effective.iter().map(|(path, value)| ((*path).to_owned(), toml_to_json(value))).collect();
        let ntas = config.ntas.iter().map(|n| json!({"zone": n.zone.to_string(), "reason": n.reason, "until": n.until}));
        return render::json(
            out,
            &json!({
                "keys": keys,
                "forward": config.forwards.iter().map(|f| routes(&f.zone, &f.servers)).collect::<Vec<_>>(),
                "stub": config.stubs.iter().map(|s| routes(&s.zone, &s.servers)).collect::<Vec<_>>(),
                "nta": ntas.collect::<Vec<_>>(),
            }),
        );
    }
    for key in KEYS {
        if let Some(value) = config.effective.get(key.path) {
            let mark = if value == key.default { "   # default" } else { "" };
            writeln!(out, "{} = {value}{mark}", key.path)?;
        }
    }
    for forward in &config.forwards {
        writeln!(out, "forward {} to {}", forward.zone, render::list(&forward.servers))?;
    }
    for stub in &config.stubs {
        writeln!(out, "stub {} at {}", stub.zone, render::list(&stub.servers))?;
    }
    for nta in &config.ntas {
        writeln!(out, "nta {} {}: {}", nta.zone, render::until(nta.until), nta.reason)?;
    }
    Ok(())
}

/// A value that the reader has accepted, as JSON.
fn toml_to_json(value: &str) -> serde_json::Value {
    let table: Result<toml::Table, _> = toml::from_str(&format!("v = {value}"));
    table.ok().and_then(|t| serde_json::to_value(t.get("v")).ok()).unwrap_or_default()
}

fn list(json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        let keys = KEYS.iter().map(|k| {
            json!({
                "key": k.path, "repeated": REPEATED.contains(&k.section()), "default": toml_to_json(k.default),
                "form": k.form.words(), "unit": k.unit, "why": k.why, "live": k.live,
            })
        });
        return render::json(out, &keys.collect());
    }
    for key in KEYS {
        let unit = if key.unit.is_empty() { String::new() } else { format!(" ({})", key.unit) };
        let default = if REPEATED.contains(&key.section()) { "example" } else { "default" };
        writeln!(out, "{}\n    {}{unit}; {default}: {}\n    {}", key.path, key.form.words(), key.default, key.why)?;
    }
    Ok(())
}

//! What is trusted while the daemon runs: the configured anchors as they roll over (RFC 5011), and the zones that are not validated
//! for a while by decision of the operator (RFC 7646).
//!
//! Both survive a restart in the state directory. Roll-overs are judged by `validate::rollover`; here is only when to look, what is
//! kept, and what comes of it all for the validator.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::kept::Kept;
use super::{locked, settings};
use crate::config::Config;
use crate::control::api;
use crate::control::server::Peer;
use crate::validate::nta::MAX_LIFE_SECONDS;
use crate::validate::rollover::{KeyState, Rollover};
use crate::validate::{Anchor, Anchors, NegativeAnchor, NegativeAnchors};
use crate::wire::Name;

/// Name of the file with the state of roll-overs.
const ANCHORS_FILE: &str = "anchors.json";
/// Name of the file with the negative trust anchors set by hand.
const NTAS_FILE: &str = "ntas.json";
/// Most negative trust anchors set by hand: each is a broken zone that somebody looked at.
const MAX_NTAS: usize = 1000;
/// Longest reason in characters.
const MAX_WHY: usize = 500;

/// The roll-over of one anchored name, with the anchors that it grew from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Followed {
    configured: Vec<String>,
    rollover: Rollover,
}

/// A negative trust anchor set by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OwnNta {
    zone: String,
    why: String,
    until: u64,
    by: String,
    made: u64,
}

/// The state of what is trusted.
pub(super) struct Trust {
    anchors: Mutex<Kept<BTreeMap<String, Followed>>>,
    ntas: Mutex<Kept<Vec<OwnNta>>>,
    /// What was found wrong, with the files at the start or with writing them since.
    found: Mutex<Vec<String>>,
}

/// An anchored name that is to be looked at.
pub(super) struct Due {
    pub(super) owner: Name,
    pub(super) configured: Vec<Anchor>,
    pub(super) rollover: Rollover,
}

impl Trust {
    /// Reads both files.
    ///
    /// # Errors
    /// One is there and cannot be read.
    pub(super) fn open(state_dir: &Path) -> io::Result<Trust> {
        let (anchors, ntas) = (Kept::open(&state_dir.join(ANCHORS_FILE))?, Kept::open(&state_dir.join(NTAS_FILE))?);
        let mut found = Vec::new();
        found.extend(anchors.damaged().map(|why| format!("{why}; roll-overs are followed anew from the configured trust anchors")));
        found.extend(ntas.damaged().map(|why| format!("{why}; negative trust anchors set by hand are gone")));
        Ok(Trust { anchors: Mutex::new(anchors), ntas: Mutex::new(ntas), found: Mutex::new(found) })
    }

    /// Fits what was learnt to the anchors that are configured now: what grew from an anchor that is configured no more is not trusted.
    pub(super) fn adopt(&self, config: &Config) {
        if !config.validate.rollover {
            return;
        }
        let configured = settings::anchors(config);
        let mut kept = locked(&self.anchors);
        let mut next = BTreeMap::new();
        for (owner, anchors) in configured.iter() {
            let texts: Vec<String> = anchors.iter().map(text).collect();
            let old = kept.value().get(&owner.to_string()).cloned().unwrap_or_default();
            let uprooted = old.configured.iter().any(|anchor| !texts.contains(anchor));
            let rollover = if uprooted { old.rollover.uprooted() } else { old.rollover };
            next.insert(owner.to_string(), Followed { configured: texts, rollover });
        }
        if next != *kept.value() {
            let written = kept.keep_at_least_here(next);
            self.report(written);
        }
    }

    /// The trust anchors in force.
    pub(super) fn anchors(&self, config: &Config) -> Anchors {
        let configured = settings::anchors(config);
        if !config.validate.rollover {
            return configured;
        }
        let kept = locked(&self.anchors);
        let mut anchors = configured.clone();
        for (owner, own) in configured.iter() {
            if let Some(followed) = kept.value().get(&owner.to_string()) {
                anchors.replace(owner.clone(), followed.rollover.anchors(owner, own));
            }
        }
        anchors
    }

    /// The anchored names whose time has come at `now`.
    pub(super) fn due(&self, config: &Config, now: u64) -> Vec<Due> {
        if !config.validate.rollover {
            return Vec::new();
        }
        let kept = locked(&self.anchors);
        let configured = settings::anchors(config);
        let due = configured.iter().filter_map(|(owner, own)| {
            let rollover = kept.value().get(&owner.to_string()).map(|f| f.rollover.clone()).unwrap_or_default();
            (rollover.next_check <= now).then(|| Due { owner: owner.clone(), configured: own.to_vec(), rollover })
        });
        due.collect()
    }

    /// Takes what a look has shown, if nothing else has changed the state since.
    pub(super) fn learn(&self, seen: &Due, next: Rollover) {
        let mut kept = locked(&self.anchors);
        let mut all = kept.value().clone();
        let Some(followed) = all.get_mut(&seen.owner.to_string()).filter(|f| f.rollover == seen.rollover) else { return };
        followed.rollover = next;
        let written = kept.keep_at_least_here(all);
        self.report(written);
    }

    /// Every anchored name with its keys.
    pub(super) fn shown(&self, config: &Config) -> Vec<api::TrustAnchor> {
        let kept = locked(&self.anchors);
        let shown = |owner: &Name, anchors: &[Anchor]| {
            let followed = kept.value().get(&owner.to_string()).filter(|_| config.validate.rollover);
            let keys = followed.map(|f| f.rollover.keys()).unwrap_or_default();
            api::TrustAnchor {
                zone: owner.to_string(),
                configured: anchors.len(),
                keys: keys.iter().map(|key| api::AnchorKey { tag: key.tag(), state: key.state.label().into(), since: key.since }).collect(),
                validated: followed.map(|f| f.rollover.validated).filter(|&at| at > 0),
                next_check: followed.map(|f| f.rollover.next_check).filter(|&at| at > 0),
            }
        };
        settings::anchors(config).iter().map(|(owner, anchors)| shown(owner, anchors)).collect()
    }

    /// Keys followed, by state.
    pub(super) fn keys(&self, config: &Config, state: KeyState) -> usize {
        let kept = locked(&self.anchors);
        let anchored = settings::anchors(config);
        let followed = anchored.iter().filter_map(|(owner, _)| kept.value().get(&owner.to_string()));
        followed.flat_map(|f| f.rollover.keys()).filter(|key| key.state == state).count()
    }

    /// The negative trust anchors, configured and set by hand; ended ones may be among them.
    pub(super) fn negative(&self, config: &Config) -> NegativeAnchors {
        let mut all = settings::negative_anchors(config);
        for nta in locked(&self.ntas).value() {
            // Only names are ever put in; a file that somebody edited may hold anything.
            let Ok(name) = nta.zone.parse() else { continue };
            all.add(NegativeAnchor { name, reason: nta.why.clone(), expires: Some(nta.until) });
        }
        all
    }

    /// Those in force at `now`.
    pub(super) fn ntas(&self, config: &Config, now: u64) -> Vec<api::Nta> {
        let own = locked(&self.ntas);
        let by = |zone: &str| own.value().iter().find(|nta| nta.zone == zone).map(|nta| nta.by.clone());
        let configured = config.ntas.iter().map(|nta| (nta.zone.to_string(), nta.reason.clone(), nta.until));
        let set = own.value().iter().map(|nta| (nta.zone.clone(), nta.why.clone(), Some(nta.until)));
        let all = configured.filter(|(zone, ..)| by(zone).is_none()).chain(set);
        let in_force = all.filter(|(.., until)| until.is_none_or(|until| until > now));
        in_force.map(|(zone, reason, until)| api::Nta { by: by(&zone), zone, reason, until }).collect()
    }

    /// Stops validating `zone` for a while.
    pub(super) fn add_nta(&self, zone: &Name, seconds: u64, why: String, peer: Peer, now: u64) -> Result<String, (String, String)> {
        let refused = |what: &str, hint: &str| Err((what.to_owned(), hint.to_owned()));
        if seconds > MAX_LIFE_SECONDS {
            return refused("a negative trust anchor holds for at most 7 days (RFC 7646)", "set it again when it has ended");
        }
        if why.trim().is_empty() || why.chars().count() > MAX_WHY {
            return refused("it needs a reason of at most 500 characters", "say why with --why, for whoever comes after you");
        }
        let mut kept = locked(&self.ntas);
        let mut all: Vec<OwnNta> = kept.value().iter().filter(|nta| nta.until > now && nta.zone != zone.to_string()).cloned().collect();
        if all.len() >= MAX_NTAS {
            return refused("there are 1000 negative trust anchors already", "remove those that are not needed any more");
        }
        let (zone, until, by) = (zone.to_string(), now.saturating_add(seconds), format!("uid {}", peer.uid));
        let said = format!("{zone} and all below it are not validated for {seconds} seconds");
        all.push(OwnNta { zone, why, until, by, made: now });
        kept.keep(all).map(|()| said).map_err(|error| (format!("it cannot be kept: {error}"), "look at the state directory".to_owned()))
    }

    /// Validates `zone` again.
    pub(super) fn remove_nta(&self, zone: &Name, config: &Config) -> Result<String, (String, String)> {
        let mut kept = locked(&self.ntas);
        let all: Vec<OwnNta> = kept.value().iter().filter(|nta| nta.zone != zone.to_string()).cloned().collect();
        if all.len() == kept.value().len() {
            let hint = match config.ntas.iter().any(|nta| nta.zone == *zone) {
                true => "it stands in the configuration: take it out there and reload",
                false => "`postern nta list` shows those that there are",
            };
            return Err((format!("there is no negative trust anchor at {zone} that was set by hand"), hint.to_owned()));
        }
        kept.keep(all).map_err(|error| (format!("it cannot be taken away: {error}"), "look at the state directory".to_owned()))?;
        Ok(format!("{zone} is validated again"))
    }

    /// What is wrong, in words.
    pub(super) fn warnings(&self, config: &Config, now: u64) -> Vec<String> {
        let mut warnings = locked(&self.found).clone();
        for nta in self.ntas(config, now) {
            let until = nta.until.map_or("without end".to_owned(), |until| format!("for {} more seconds", until.saturating_sub(now)));
            warnings.push(format!("{} and all below it are not validated {until}: {}", nta.zone, nta.reason));
        }
        for anchor in self.shown(config).iter().filter(|anchor| anchor.configured > 0) {
            let lost = !anchor.keys.is_empty() && !anchor.keys.iter().any(|key| ["valid", "missing"].contains(&key.state.as_str()));
            if lost && anchor.keys.iter().any(|key| key.state == KeyState::Revoked.label()) {
                warnings.push(format!("every known key of {} is revoked: give a new trust anchor", anchor.zone));
            }
        }
        warnings
    }

    /// Remembers the last failure to write, until a write succeeds.
    fn report(&self, written: io::Result<()>) {
        const WHAT: &str = "the state of the trust anchors cannot be written";
        let mut found = locked(&self.found);
        found.retain(|line| !line.starts_with(WHAT));
        if let Err(error) = written {
            found.push(format!("{WHAT}: {error}; a roll-over is followed anew after a restart"));
        }
    }
}

/// An anchor as it is compared with the configuration of the next run.
fn text(anchor: &Anchor) -> String {
    match anchor {
        Anchor::Ds(rdata) => format!("DS {}", HEXLOWER.encode(rdata)),
        Anchor::Dnskey(rdata) => format!("DNSKEY {}", HEXLOWER.encode(rdata)),
    }
}

//! Which way a question goes: to a configured forwarder or stub server, or down from the root.
//!
//! The longest configured zone at or above the name decides; DS belongs to the parent, so its own apex does not count for it
//! (RFC 4035 section 3.1.4.1).

use super::scrub::Step;
use super::settings::{Route, Settings};
use crate::wire::{Name, Question, Rtype};

/// The route for a question.
pub(super) fn of<'a>(settings: &'a Settings, question: &Question) -> Option<&'a Route> {
    let covers = |zone: &Name| match question.rtype {
        Rtype::DS if !question.name.is_root() => question.name.is_below(zone),
        _ => question.name.is_at_or_below(zone),
    };
    settings.routes.iter().filter(|r| !r.servers.is_empty() && covers(&r.zone)).max_by_key(|r| r.zone.label_count())
}

/// The zone whose own data alone counts for a question: its route's, or the root where the public tree decides.
pub(super) fn limit(settings: &Settings, question: &Question) -> Name {
    of(settings, question).map_or_else(Name::root, |r| r.zone.clone())
}

/// Cuts an answer to `question` before the first step that another route decides about, or the public tree: of that name this answer's
/// servers may not speak, however far their own zone reaches (MaginotDNS the other way round).
pub(super) fn keep_own(settings: &Settings, question: &Question, steps: &mut Vec<Step>) {
    let own = of(settings, question).map(|r| &r.zone);
    let kept = steps.iter().take_while(|s| s.question == *question || of(settings, &s.question).map(|r| &r.zone) == own).count();
    steps.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::settings::{Policy, RouteKind};

    #[test]
    fn the_longest_zone_wins_and_ds_goes_to_the_parent_s_servers() {
        let route = |zone: &str, port| Route {
            zone: zone.parse().unwrap(),
            kind: RouteKind::Forward,
            servers: vec![([192, 0, 2, 1], port).into()],
            fallback_to_recursion: false,
            policy: Policy::default(),
        };
        let settings =
            Settings { routes: vec![route(".", 1), route("corp.example", 2), route("lab.corp.example", 3)], ..Settings::default() };
        let port = |name: &str, rtype| of(&settings, &Question::new(name.parse().unwrap(), rtype)).unwrap().servers[0].port();
        assert_eq!(port("www.post.example", Rtype::A), 1);
        assert_eq!(port("www.lab.corp.example", Rtype::A), 3);
        assert_eq!(port("corp.example", Rtype::A), 2);
        assert_eq!(port("corp.example", Rtype::DS), 1);
    }
}

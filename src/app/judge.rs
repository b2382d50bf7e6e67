//! The policy as the listeners ask it: a snapshot of the engine with the settings of the answer and the places of the counters.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use super::locked;
use crate::blocklist::impact::Recent;
use crate::config::Action;
use crate::listen::{Block, Judgement, Policy};
use crate::policy::{Engine, Verdict, inspect, rpz};
use crate::respond::BlockAnswer;
use crate::telemetry::{ListSlot, Metrics, label};
use crate::wire::{Name, Rrset};

/// A policy that judges, whole and unchanging; a change of any rule makes the next one.
#[derive(Debug)]
pub(super) struct Judge {
    engine: Engine,
    answer: BlockAnswer,
    ttl: u32,
    /// Place among the counters of each list of the engine.
    lists: Vec<ListSlot>,
    same_for_all: bool,
    /// Names let through lately, for the next list to be held against.
    recent: Arc<Mutex<Recent>>,
}

impl Judge {
    pub(super) fn new(engine: Engine, action: &Action, ttl: u32, metrics: &Metrics) -> Judge {
        let lists = engine.parts().lists.iter().map(|list| metrics.list(&list.manifest().id)).collect();
        let (same_for_all, recent) = (engine.same_for_all_clients(), Arc::new(Mutex::new(Recent::new(0))));
        Judge { lists, answer: answer(action), ttl, same_for_all, engine, recent }
    }

    /// The same, noting here what it lets through.
    pub(super) fn noting(self, recent: Arc<Mutex<Recent>>) -> Judge {
        Judge { recent, ..self }
    }

    /// The snapshot, for those who ask in words.
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    fn judgement(&self, verdict: Verdict) -> Judgement<'_> {
        let label = label::Verdict::from(&verdict);
        match verdict {
            Verdict::WouldWait => Judgement::WouldWait,
            Verdict::BlockListed { list, .. } => self.block(&verdict, label, self.slot(list)),
            Verdict::ExceptionBlock { .. } => self.block(&verdict, label, None),
            Verdict::ZoneRule { zone, rule } => match self.engine.zone(zone).and_then(|zone| zone.rule(rule)).map(|rule| &rule.action) {
                Some(rpz::Action::Drop) => Judgement::Drop,
                Some(rpz::Action::Data(_)) => Judgement::Records,
                Some(rpz::Action::Nodata) => self.block_with(BlockAnswer::Nodata, &verdict, label),
                _ => self.block_with(BlockAnswer::Nxdomain, &verdict, label),
            },
            Verdict::Protected { list, .. } | Verdict::AllowListed { list, .. } => Judgement::Pass(label, self.slot(list)),
            Verdict::ExceptionAllow { .. }
            | Verdict::ZonePass { .. }
            | Verdict::Local
            | Verdict::Unlisted
            | Verdict::BlockingOff
            | Verdict::Damaged => Judgement::Pass(label, None),
        }
    }

    fn block(&self, why: &Verdict, verdict: label::Verdict, list: Option<ListSlot>) -> Judgement<'_> {
        let [first, second] = why.pieces(&self.engine);
        Judgement::Block(Block { answer: self.answer, ttl: self.ttl, text: [first, second, "", ""], verdict, list })
    }

    /// A block in the form that a policy zone wants.
    fn block_with(&self, answer: BlockAnswer, why: &Verdict, verdict: label::Verdict) -> Judgement<'_> {
        let [first, second] = why.pieces(&self.engine);
        Judgement::Block(Block { answer, ttl: self.ttl, text: [first, second, "", ""], verdict, list: None })
    }

    fn slot(&self, list: u8) -> Option<ListSlot> {
        self.lists.get(usize::from(list)).copied()
    }
}

impl Policy for Judge {
    fn generation(&self, wall: u64) -> u64 {
        self.engine.generation_at(wall)
    }

    fn judge(&self, name: &[u8], client: IpAddr, wall: u64, may_wait: bool) -> Judgement<'_> {
        self.judgement(self.engine.decide_wire(name, client, wall, may_wait))
    }

    fn judge_target(&self, question: &[u8], target: &[u8], client: IpAddr, wall: u64, may_wait: bool) -> Judgement<'_> {
        let verdict = self.engine.decide_wire(target, client, wall, may_wait);
        if !verdict.blocks() {
            return self.judgement(verdict);
        }
        let own = self.engine.decide_wire(question, client, wall, may_wait);
        let verdict = inspect::targets(&self.engine, question, &own, [target], client, wall, may_wait).0;
        match self.judgement(verdict) {
            // The question itself has another name: what leads to dropped or rewritten names is blocked like any other.
            Judgement::Drop | Judgement::Records => self.block_with(BlockAnswer::Nxdomain, &verdict, label::Verdict::from(&verdict)),
            judgement => judgement,
        }
    }

    fn records(&self, name: &[u8], client: IpAddr, wall: u64) -> Option<&[Arc<Rrset>]> {
        let Verdict::ZoneRule { zone, rule } = self.engine.decide_wire(name, client, wall, true) else { return None };
        match &self.engine.zone(zone)?.rule(rule)?.action {
            rpz::Action::Data(records) => Some(records),
            _ => None,
        }
    }

    fn let_through(&self, names: &mut dyn Iterator<Item = &Name>, client: IpAddr) {
        let mut recent = locked(&self.recent);
        names.for_each(|name| recent.note(name, client));
    }

    fn is_same_for_all(&self) -> bool {
        self.same_for_all
    }
}

fn answer(action: &Action) -> BlockAnswer {
    match action {
        Action::Nxdomain => BlockAnswer::Nxdomain,
        Action::Nodata => BlockAnswer::Nodata,
        Action::Null => BlockAnswer::Null,
        Action::Sinkhole(addresses) => {
            let v4 = addresses.iter().find_map(|a| if let IpAddr::V4(a) = a { Some(*a) } else { None });
            let v6 = addresses.iter().find_map(|a| if let IpAddr::V6(a) = a { Some(*a) } else { None });
            BlockAnswer::Sinkhole(v4, v6)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocklist::{self, Scope};
    use crate::policy::engine::Parts;
    use crate::policy::exception::Exception;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn exception(name: &str, action: blocklist::Action, until: Option<u64>) -> Exception {
        let name = name.parse().unwrap();
        Exception { name, scope: Scope::Subtree, action, until, client: None, why: String::new(), by: String::new(), made: 0 }
    }

    fn judge(exceptions: Vec<Exception>) -> Judge {
        let parts = Parts { exceptions, ..Parts::default() };
        Judge::new(Engine::new(parts, 7), &Action::Null, 60, &Metrics::new())
    }

    fn wire(name: &str) -> Vec<u8> {
        name.parse::<Name>().unwrap().wire().to_vec()
    }

    #[test]
    fn the_generation_changes_when_a_rule_ends() {
        let judge = judge(vec![exception("a.example", blocklist::Action::Block, Some(100))]);
        assert_eq!(judge.generation(50), judge.generation(99));
        assert_ne!(judge.generation(99), judge.generation(100));
        assert!(
            matches!(judge.judge(&wire("x.a.example"), CLIENT, 99, false), Judgement::Block(block) if block.answer == BlockAnswer::Null)
        );
        assert!(matches!(judge.judge(&wire("x.a.example"), CLIENT, 100, false), Judgement::Pass(label::Verdict::Allowed, None)));
    }

    #[test]
    fn an_allowed_name_may_lead_to_a_blocked_one() {
        let judge = judge(vec![
            exception("shop.example", blocklist::Action::Allow, None),
            exception("cdn.example", blocklist::Action::Block, None),
        ]);
        let (target, shop, other) = (wire("x.cdn.example"), wire("shop.example"), wire("other.example"));
        assert!(matches!(judge.judge_target(&other, &target, CLIENT, 1, true), Judgement::Block(_)));
        assert!(matches!(judge.judge_target(&shop, &target, CLIENT, 1, true), Judgement::Pass(label::Verdict::ExceptionAllow, None)));
    }
}

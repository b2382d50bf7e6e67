use proptest::prelude::*;

use super::super::inspect;
use super::*;
use crate::blocklist::parse::{Format, Reading};
use crate::blocklist::scratch::{Scratch, build_texts, list};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7));
const ALLOW: Reading = Reading { format: None, scope: None, action: Action::Allow };

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn exception(text: &str, action: Action, scope: Scope, until: Option<u64>) -> Exception {
    Exception { name: name(text), scope, action, until, client: None, why: String::new(), by: "uid 0".into(), made: 0 }
}

fn label(engine: &Engine, text: &str, now: u64) -> &'static str {
    engine.decide(&name(text), CLIENT, now, true).label()
}

#[test]
fn precedence_is_local_exception_off_protected_allow_block() {
    let scratch = Scratch::new();
    let block = list(&scratch, "block", "scam.example\nbank.scam.example\n", Reading::default());
    let allow = list(&scratch, "allow", "good.scam.example\n", ALLOW);
    let mut protected = Protected::default();
    protected.add_critical("bank.scam.example\tour bank\n").unwrap();
    let mut parts = Parts {
        local: vec![name("nas.scam.example")],
        exceptions: vec![
            exception("shop.scam.example", Action::Allow, Scope::Exact, Some(100)),
            exception("free.example", Action::Block, Scope::Subtree, Some(100)),
        ],
        off_until: 0,
        zones: Vec::new(),
        protected: Arc::new(protected),
        lists: vec![Arc::new(block), Arc::new(allow)],
    };
    let engine = Engine::new(parts.clone(), 1);
    assert_eq!(label(&engine, "www.scam.example", 1), "protected", "the entry would take a protected name along");
    assert_eq!(label(&engine, "scam.example", 1), "blocked", "the name alone takes nothing along");
    parts.protected = Arc::default();
    let engine = Engine::new(parts.clone(), 1);
    for (asked, expected) in [
        ("scam.example", "blocked"),
        ("x.scam.example", "blocked"),
        ("good.scam.example", "allow_listed"),
        ("nas.scam.example", "local"),
        ("shop.scam.example", "exception_allow"),
        ("x.shop.scam.example", "blocked"),
        ("x.free.example", "exception_block"),
        ("other.example", "allowed"),
        (".", "allowed"),
    ] {
        assert_eq!(label(&engine, asked, 1), expected, "{asked}");
    }
    assert_eq!((label(&engine, "shop.scam.example", 100), label(&engine, "free.example", 100)), ("blocked", "allowed"));
    assert_eq!((engine.valid_until(1), engine.valid_until(100)), (100, u64::MAX));
    assert_eq!(engine.generation_at(1), engine.generation_at(99));
    assert_ne!(engine.generation_at(99), engine.generation_at(100), "two exceptions have ended");
    let off = Engine::new(Parts { off_until: 50, ..parts }, 2);
    assert_eq!(
        (label(&off, "scam.example", 1), label(&off, "free.example", 1), label(&off, "scam.example", 50)),
        ("blocking_off", "exception_block", "blocked")
    );
}

#[test]
fn a_block_says_list_serial_source_and_line() {
    let scratch = Scratch::new();
    let engine = Engine::new(
        Parts { lists: vec![Arc::new(list(&scratch, "scam", "# c\nscam.example\n", Reading::default()))], ..Parts::default() },
        1,
    );
    let verdict = engine.decide(&name("www.scam.example"), CLIENT, 1, true);
    let ede = verdict.ede(&engine).unwrap();
    assert_eq!((ede.code, &*ede.text), (15, "blocked: list=scam serial=1 source=source0"));
    assert_eq!(
        verdict.explain(&engine, &name("www.scam.example")),
        ["list scam (serial 1): block scam.example. and all below, source0 line 2"]
    );
    assert_eq!(engine.decide(&name("free.example"), CLIENT, 1, true).ede(&engine), None);
}

#[test]
fn names_accepted_by_the_curator_are_blocked_exactly_but_never_own_names() {
    let scratch = Scratch::new();
    let path = scratch.file("a.plist");
    build_texts(&path, &[("github.io\nscam.github.io\n", Reading::default())], |o| {
        o.accept.insert(name("github.io"));
    });
    let lists = vec![Arc::new(List::open(&path).unwrap())];
    let engine = Engine::new(Parts { lists: lists.clone(), ..Parts::default() }, 1);
    assert_eq!(
        (label(&engine, "github.io", 1), label(&engine, "x.github.io", 1), label(&engine, "scam.github.io", 1)),
        ("blocked", "allowed", "blocked")
    );
    let mut protected = Protected::default();
    protected.add_own([&name("github.io")]).unwrap();
    let engine = Engine::new(Parts { lists, protected: Arc::new(protected), ..Parts::default() }, 1);
    assert_eq!((label(&engine, "github.io", 1), label(&engine, "scam.github.io", 1)), ("protected", "protected"));
}

#[test]
fn a_listed_cname_target_blocks_unless_the_question_is_let_through_by_name() {
    let scratch = Scratch::new();
    let parts = Parts {
        exceptions: vec![exception("ours.example", Action::Allow, Scope::Exact, None)],
        lists: vec![
            Arc::new(list(&scratch, "block", "scam.example\n", Reading::default())),
            Arc::new(list(&scratch, "allow", "fine.example\n", ALLOW)),
        ],
        ..Parts::default()
    };
    let engine = Engine::new(parts, 1);
    let chain = [name("cdn.example"), name("www.scam.example")];
    let judge = |question: &str| {
        let verdict = engine.decide(&name(question), CLIENT, 1, true);
        inspect::targets(&engine, &name(question), &verdict, &chain, CLIENT, 1, true)
    };
    let (verdict, target) = judge("innocent.example");
    assert!(verdict.blocks() && target == Some(&chain[1]));
    assert_eq!(judge("ours.example").0.label(), "exception_allow");
    assert_eq!(judge("www.fine.example").0.label(), "allow_listed");
    assert_eq!(judge("gov.uk").0.label(), "allowed", "a public suffix is protected, and so is what it resolves to");
    assert_eq!(
        inspect::targets(&engine, &name("innocent.example"), &Verdict::Unlisted, &chain[..1], CLIENT, 1, true),
        (Verdict::Unlisted, None)
    );
}

#[test]
fn an_exception_for_one_client_is_for_that_client_only() {
    let only = Exception { client: Some(CLIENT), ..exception("a.example", Action::Block, Scope::Subtree, None) };
    let engine = Engine::new(Parts { exceptions: vec![only], ..Parts::default() }, 1);
    assert!(!engine.same_for_all_clients());
    assert_eq!(label(&engine, "x.a.example", 1), "exception_block");
    assert_eq!(engine.decide(&name("x.a.example"), "192.168.1.8".parse().unwrap(), 1, true), Verdict::Unlisted);
}

/// The policy in plain words: a name, everything that reaches it, the first that counts.
mod model {
    use super::*;

    pub(super) struct Entry {
        pub name: Name,
        pub scope: Scope,
        pub action: Action,
        /// Which list it is in; exceptions are in none.
        pub list: Option<usize>,
        pub until: Option<u64>,
    }

    impl Entry {
        fn reaches(&self, asked: &Name, now: u64) -> bool {
            let reached = if self.scope == Scope::Subtree { asked.is_at_or_below(&self.name) } else { *asked == self.name };
            reached && self.until.is_none_or(|u| u > now)
        }
    }

    pub(super) fn decide(entries: &[Entry], local: &[Name], protected: &Protected, off: u64, asked: &Name, now: u64) -> &'static str {
        let reaching = |in_list: bool, action: Option<Action>| {
            entries.iter().filter(move |e| e.list.is_some() == in_list && action.is_none_or(|a| a == e.action) && e.reaches(asked, now))
        };
        if local.contains(asked) {
            return "local";
        }
        if let Some(longest) = reaching(false, None).max_by_key(|e| e.name.label_count()) {
            return if longest.action == Action::Allow { "exception_allow" } else { "exception_block" };
        }
        if off > now {
            return "blocking_off";
        }
        if reaching(true, Some(Action::Allow)).next().is_some() {
            return "allow_listed";
        }
        let held = |e: &&Entry| protected.judge(&e.name, if e.name == *asked { Scope::Exact } else { e.scope }).is_some();
        if reaching(true, Some(Action::Block)).all(|e| held(&e)) {
            let any = reaching(true, Some(Action::Block)).next().is_some();
            return if any { "protected" } else { "allowed" };
        }
        "blocked"
    }
}

fn some_name() -> impl Strategy<Value = String> {
    "[ab](\\.[ab]){0,3}".prop_map(|n| format!("{n}.example"))
}

type Listed = (String, bool, bool, usize);
type Excepted = (String, bool, bool, Option<u64>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn the_engine_agrees_with_the_plain_model(
        listed in proptest::collection::vec((some_name(), any::<bool>(), any::<bool>(), 0usize..2), 0..12),
        excepted in proptest::collection::vec((some_name(), any::<bool>(), any::<bool>(), proptest::option::of(0u64..4)), 0..4),
        local in proptest::collection::vec(some_name(), 0..2),
        critical in proptest::collection::vec((some_name(), any::<bool>()), 0..3),
        own in proptest::collection::vec(some_name(), 0..2),
        off in 0u64..3,
        asked in proptest::collection::vec(some_name(), 1..20),
        now in 1u64..4,
    ) {
        let scratch = Scratch::new();
        let scope = |exact: bool| if exact { Scope::Exact } else { Scope::Subtree };
        let action = |allow: bool| if allow { Action::Allow } else { Action::Block };
        let text = |of: usize, exact: bool, allow: bool| -> String {
            listed.iter().filter(|(_, e, a, l)| (*e, *a, *l) == (exact, allow, of)).map(|(n, ..): &Listed| format!("{n}\n")).collect()
        };
        let mut lists = Vec::new();
        for of in 0..2 {
            let path = scratch.file(&format!("{of}.plist"));
            let texts: Vec<_> = [(true, true), (true, false), (false, true), (false, false)]
                .map(|(e, a)| (text(of, e, a), Reading { format: Some(Format::Plain), scope: Some(scope(e)), action: action(a) }))
                .into();
            let sources: Vec<_> = texts.iter().map(|(t, r)| (t.as_str(), *r)).collect();
            build_texts(&path, &sources, |_| ());
            lists.push(Arc::new(List::open(&path).unwrap()));
        }
        let mut protected = Protected::default();
        for (n, below) in &critical {
            protected.add_critical(&format!("{}{n}\tcritical\n", if *below { "." } else { "" })).unwrap();
        }
        let own: Vec<Name> = own.iter().map(|n| name(n)).collect();
        protected.add_own(&own).unwrap();
        // One exception a name: which of two wins is a rule of its own, tested by itself.
        let mut exceptions: Vec<Exception> = Vec::new();
        for (n, exact, allow, until) in &excepted as &Vec<Excepted> {
            exceptions.retain(|e| e.name != name(n));
            exceptions.push(exception(n, action(*allow), scope(*exact), *until));
        }
        let local: Vec<Name> = local.iter().map(|n| name(n)).collect();
        let entries: Vec<model::Entry> = listed
            .iter()
            .map(|(n, e, a, l)| model::Entry { name: name(n), scope: scope(*e), action: action(*a), list: Some(*l), until: None })
            .chain(exceptions.iter().map(|e| model::Entry { name: e.name.clone(), scope: e.scope, action: e.action, list: None, until: e.until }))
            .collect();
        let engine = Engine::new(Parts { local: local.clone(), exceptions, off_until: off, protected: Arc::new(protected.clone()), lists, ..Parts::default() }, 1);
        for asked in &asked {
            let expected = model::decide(&entries, &local, &protected, off, &name(asked), now);
            prop_assert_eq!(label(&engine, asked, now), expected, "{}", asked);
        }
    }
}

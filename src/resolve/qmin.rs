//! QNAME minimisation: how much of the name a zone's servers get to see (RFC 9156).
//!
//! Relaxed: whatever goes wrong with a shortened question, the whole one is asked next, so that servers which answer NXDOMAIN for empty
//! non-terminals, or refuse what they do not expect, cost a packet and not an answer. QTYPE of shortened questions is A (section 2.1).

use crate::wire::{Name, Question, Rtype};

/// Shortened questions of one resolution at most (RFC 9156 section 2.3, MAX_MINIMISE_COUNT).
const MAX_MINIMISE_COUNT: usize = 10;
/// The first so many of them add one label each (RFC 9156 section 2.3, MINIMISE_ONE_LAB).
const MINIMISE_ONE_LAB: usize = 4;

/// The state of one resolution.
#[derive(Debug)]
pub(super) struct Minimiser {
    on: bool,
    asked: usize,
    /// Labels that the servers of the current zone are known to know.
    shown: usize,
}

impl Minimiser {
    pub(super) fn new(on: bool) -> Minimiser {
        Minimiser { on, asked: 0, shown: 0 }
    }

    /// The question to ask the servers of `zone` next.
    pub(super) fn question(&mut self, zone: &Name, full: &Question) -> Question {
        let (all, known) = (full.name.label_count(), self.shown.max(zone.label_count()));
        if !self.on || known >= all || self.asked >= MAX_MINIMISE_COUNT {
            return full.clone();
        }
        let left = all - known;
        let step = if self.asked < MINIMISE_ONE_LAB { 1 } else { left.div_ceil(MAX_MINIMISE_COUNT - self.asked) };
        if known + step >= all {
            return full.clone();
        }
        self.asked += 1;
        self.shown = known + step;
        Question::new(full.name.suffix(self.shown), Rtype::A)
    }

    /// From here on the whole question is asked.
    pub(super) fn give_up(&mut self) {
        self.on = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9156 section 2.3: no more than MAX_MINIMISE_COUNT questions however many labels the name has, one label at a time at first.
    #[test]
    fn long_names_are_shown_in_few_steps() {
        let full = Question::new(format!("{}com", "a.".repeat(100)).parse().unwrap(), Rtype::AAAA);
        let mut minimiser = Minimiser::new(true);
        let mut zone = Name::root();
        let mut labels = Vec::new();
        loop {
            let question = minimiser.question(&zone, &full);
            labels.push(question.name.label_count());
            if question == full {
                break;
            }
            assert_eq!(question.rtype, Rtype::A);
            zone = if labels.len() == 1 { question.name } else { zone };
        }
        assert_eq!(labels[..4], [1, 2, 3, 4]);
        assert_eq!((labels.len(), labels.last()), (10, Some(&101)));
    }

    #[test]
    fn once_given_up_the_whole_question_is_asked() {
        let full = Question::new("a.b.example".parse().unwrap(), Rtype::MX);
        let mut minimiser = Minimiser::new(true);
        assert_eq!(minimiser.question(&Name::root(), &full).name, "example".parse().unwrap());
        minimiser.give_up();
        assert_eq!(minimiser.question(&Name::root(), &full), full);
    }
}

//! Plain files: one name a line, meaning the name and all below it; `*.name` and `.name` say so aloud.

use super::{Context, Reason, without_comment};

/// Reads one line.
pub(super) fn line(text: &str, context: &mut Context<'_>) {
    let content = without_comment(text);
    if content.is_empty() {
        return;
    }
    if content.contains(char::is_whitespace) {
        return context.bad(content, Reason::ExtraText);
    }
    context.name(content);
}

#[cfg(test)]
mod tests {
    use super::super::tests::found;
    use super::super::{Format, Reading, Reason};
    use crate::blocklist::Scope;

    #[test]
    fn a_plain_name_reaches_all_below() {
        let text = "a.example\n*.b.example\n.c.example\n_dmarc.d.example.\nEXAMPLE.net # x\n# no\n; no\nbücher.example\nпочта.рф\n";
        let (rules, bad, _) = found(text.as_bytes(), Reading { format: Some(Format::Plain), ..Reading::default() });
        let names: Vec<_> = rules.iter().map(|(n, ..)| n.as_str()).collect();
        let expected = [
            "a.example.",
            "b.example.",
            "c.example.",
            "_dmarc.d.example.",
            "example.net.",
            "xn--bcher-kva.example.",
            "xn--80a1acny.xn--p1ai.",
        ];
        assert_eq!(names, expected);
        assert!(rules.iter().all(|(_, scope, _)| *scope == Scope::Subtree));
        assert!(bad.is_empty());
    }

    #[test]
    fn other_syntaxes_are_named_not_guessed() {
        let text =
            b"||ads.example^\nhttp://a.example/x\na.example/path\na b\n1.2.3.4\n2001:db8::1\na$b.example\n.\n@@||ok.example^\n*\na.*.b\n";
        let (rules, bad, _) = found(text, Reading { format: Some(Format::Plain), ..Reading::default() });
        assert!(rules.is_empty(), "{rules:?}");
        let reasons: Vec<_> = bad.iter().map(|(_, r)| *r).collect();
        use Reason::*;
        let expected =
            [OtherSyntax, Url, Url, ExtraText, Address, Address, BadCharacter, EmptyLabel, OtherSyntax, BadCharacter, BadCharacter];
        assert_eq!(reasons, expected);
    }
}

//! The task that compares the catalogue of behaviour with the tests and lists what no test cites.

mod catalogue;
mod citations;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use self::catalogue::{Catalogue, Class, Statement};
use self::citations::{Citation, Manner};
use crate::arguments::SemanticsOptions;
use crate::shell::Failure;
use crate::workspace;

/// Where the catalogue is, from the root.
pub const CATALOGUE: &str = "docs/semantics.md";

/// Runs `cargo xtask semantics`.
///
/// # Errors
///
/// If the catalogue cannot be read, a test cites what is not in it, or `--deny` was given and something is listed.
pub fn run(options: &SemanticsOptions) -> Result<(), Failure> {
    let (catalogue, cited) = read()?;
    let asked = asked(&catalogue, &options.section)?;
    let report = Report::new(&asked, &cited);
    // Whoever reads only the beginning of the list closes the pipe; that is no failure of ours.
    let _ = writeln!(io::stdout(), "{}{}", report.text, report.summary());
    if options.deny { report.denied() } else { Ok(()) }
}

/// Compares, and says in a line how many statements are cited.
///
/// # Errors
///
/// As [`run`] with `--deny`.
pub fn check() -> Result<String, Failure> {
    let (catalogue, cited) = read()?;
    let asked = asked(&catalogue, &[])?;
    let report = Report::new(&asked, &cited);
    report.denied()?;
    Ok(report.summary())
}

/// A citation, without the place where it stands.
type Cited = BTreeSet<(String, Manner)>;

fn read() -> Result<(Catalogue, Cited), Failure> {
    let text = workspace::text(&workspace::root().join(CATALOGUE))?;
    let catalogue =
        Catalogue::parse(&text).map_err(|error| Failure::new(format!("{CATALOGUE}: {error}")))?;
    let citations = citations::in_workspace()?;
    let wrong: Vec<String> =
        citations.iter().filter_map(|citation| wrong(&catalogue, citation)).collect();
    if !wrong.is_empty() {
        return Err(Failure::new(wrong.join("\n")));
    }
    let cited = citations.into_iter().map(|citation| (citation.id, citation.manner)).collect();
    Ok((catalogue, cited))
}

/// What is wrong with a citation, if anything is.
fn wrong(catalogue: &Catalogue, citation: &Citation) -> Option<String> {
    let place = format!("{}:{}", citation.file, citation.line);
    match catalogue.find(&citation.id) {
        None => Some(format!("{place} cites {}, which {CATALOGUE} does not have", citation.id)),
        Some(statement) if citation.manner == Manner::Replaced && !statement.replaced => {
            Some(format!(
                "{place} cites {} as replaced, but the table in {CATALOGUE} does not name it",
                citation.id
            ))
        }
        Some(_) => None,
    }
}

/// The statements that a test has to cite, out of the sections asked for.
fn asked<'a>(catalogue: &'a Catalogue, sections: &[String]) -> Result<Vec<&'a Statement>, Failure> {
    let chosen: Vec<&Statement> = catalogue
        .statements
        .iter()
        .filter(|s| sections.is_empty() || sections.iter().any(|section| s.is_in(section)))
        .collect();
    if chosen.is_empty() {
        return Err(Failure::new(format!(
            "{CATALOGUE} has no statement in section {}",
            sections.join(" or ")
        )));
    }
    Ok(chosen.into_iter().filter(|s| s.class != Class::Quirk).collect())
}

/// What no test cites, in the order of the catalogue.
struct Report {
    text: String,
    asked: usize,
    missing: usize,
}

impl Report {
    /// Fails if something is listed.
    fn denied(&self) -> Result<(), Failure> {
        match self.missing {
            0 => Ok(()),
            _ => Err(Failure::new(format!("{}{}", self.text, self.summary()))),
        }
    }

    fn new(asked: &[&Statement], cited: &Cited) -> Report {
        let mut report = Report { text: String::new(), asked: asked.len(), missing: 0 };
        let mut section = "";
        for statement in asked {
            if cited.contains(&(statement.id.clone(), statement.manner())) {
                continue;
            }
            report.missing += 1;
            if statement.section != section {
                section = &statement.section;
                report.line(format_args!("{section} {}", statement.title));
            }
            let plain = cited.contains(&(statement.id.clone(), Manner::Plain));
            let manner = match statement.manner() {
                Manner::Plain => "",
                Manner::Replaced if plain => "(replaced, and cited as it stood) ",
                Manner::Replaced => "(replaced) ",
            };
            report.line(format_args!("  {:<7} {manner}{}", statement.id, statement.beginning));
        }
        report
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a String takes any text");
    }

    fn summary(&self) -> String {
        match (self.asked, self.missing) {
            (0, _) => "no statement that has to be cited is asked for".to_owned(),
            (asked, 0) => format!("all {asked} statements are cited by a test"),
            (asked, missing) => format!("{missing} of {asked} statements are cited by no test"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
## Replaced: where the rule is our own

| new rule | replaces | what stays of it |
|---|---|---|
| later, on a fresh stack | T-47 | the marks of T-45 |

## 3. Transport

### 3.5 Flow control
- **T-45** [N] The defaults.
- **T-46** [Q] A quirk.
- **T-47** [N] At once.

## 5. Pipes
- **P-01** [D] A defect. Do: better.
";

    #[test]
    fn what_is_not_cited_is_listed_under_its_section() {
        check(
            &[],
            "3.5 Flow control\n  T-45    The defaults.\n  T-47    (replaced) At once.\n\
             5 Pipes\n  P-01    A defect. Do: better.\n",
        );
    }

    #[test]
    fn a_replaced_statement_needs_a_test_of_the_new_rule() {
        let cited = |manner| {
            let plain = ["T-45", "P-01"].map(|id| (id.to_owned(), Manner::Plain));
            [plain.as_slice(), &[("T-47".to_owned(), manner)]].concat()
        };
        check(
            &cited(Manner::Plain),
            "3.5 Flow control\n  T-47    (replaced, and cited as it stood) At once.\n",
        );
        check(&cited(Manner::Replaced), "");
    }

    #[test]
    fn a_section_is_chosen_by_its_number_or_that_of_its_chapter() {
        let page = Catalogue::parse(PAGE).expect("the page is well formed");
        for section in ["3", "3.5"] {
            let found = asked(&page, &[section.to_owned()]).expect("it exists");
            assert_eq!(found.len(), 2, "section {section}");
        }
        assert!(asked(&page, &["4".to_owned()]).is_err());
    }

    #[test]
    fn a_wrong_citation_is_told_with_its_place() {
        let page = Catalogue::parse(PAGE).expect("the page is well formed");
        let check = |id: &str, manner, expected: Option<&str>| {
            let citation = Citation {
                id: id.to_owned(),
                manner,
                file: "tests/tests/flow.rs".to_owned(),
                line: 7,
            };
            assert_eq!(wrong(&page, &citation).as_deref(), expected);
        };
        check("T-45", Manner::Plain, None);
        check(
            "T-99",
            Manner::Plain,
            Some("tests/tests/flow.rs:7 cites T-99, which docs/semantics.md does not have"),
        );
        check(
            "T-45",
            Manner::Replaced,
            Some(
                "tests/tests/flow.rs:7 cites T-45 as replaced, but the table in docs/semantics.md does not name it",
            ),
        );
    }

    #[test]
    fn the_catalogue_of_the_project_can_be_read() {
        let text = workspace::text(&workspace::root().join(CATALOGUE)).expect("it is there");
        let catalogue = Catalogue::parse(&text).expect("it is well formed");
        assert!(catalogue.statements.len() >= 300);
        assert!(catalogue.find("T-47").is_some_and(|s| s.replaced));
        assert!(catalogue.find("G-04").is_some_and(|s| !s.replaced));
    }

    fn check(cited: &[(String, Manner)], expected: &str) {
        let page = Catalogue::parse(PAGE).expect("the page is well formed");
        let asked = asked(&page, &[]).expect("there are statements");
        let cited = cited.iter().cloned().collect();
        assert_eq!(Report::new(&asked, &cited).text, expected);
    }
}

//! The catalogue of behaviour, read from its page: each statement with its class and its section.

use super::citations::Manner;

/// The letters that an id may begin with, one kind of statement each.
const KINDS: [&str; 12] = ["L", "C", "S", "U", "T", "F", "G", "P", "X", "TLS", "R", "W"];

/// The longest beginning of a statement that lists show, in characters.
const BEGINNING: usize = 88;

/// All statements, in the order of the page.
#[derive(Debug)]
pub(super) struct Catalogue {
    /// The statements.
    pub(super) statements: Vec<Statement>,
}

/// One statement about what a user can observe.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    /// Its name, such as `T-40`.
    pub(super) id: String,
    /// How binding it is.
    pub(super) class: Class,
    /// The number of its section, such as `3.4`.
    pub(super) section: String,
    /// The title of its section.
    pub(super) title: String,
    /// How it begins.
    pub(super) beginning: String,
    /// Whether a new rule of ours stands in its place.
    pub(super) replaced: bool,
}

/// How binding a statement is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Class {
    /// Must be so.
    Normative,
    /// May be so.
    Quirk,
    /// Must be as the statement says after "Do:".
    Defect,
}

impl Statement {
    /// How a test has to cite it.
    pub(super) fn manner(&self) -> Manner {
        if self.replaced { Manner::Replaced } else { Manner::Plain }
    }

    /// Whether it belongs to the section with this number, or to one below it.
    pub(super) fn is_in(&self, section: &str) -> bool {
        let rest = self.section.strip_prefix(section);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl Catalogue {
    /// Reads the page.
    ///
    /// # Errors
    ///
    /// A sentence that names the line: a statement that is not well formed or comes twice, or a table that names what is not
    /// there.
    pub(super) fn parse(page: &str) -> Result<Catalogue, String> {
        let mut catalogue = Catalogue { statements: Vec::new() };
        let mut part = Part::Text;
        let mut section = ("0".to_owned(), String::new());
        let mut replaced = Vec::new();
        for (number, line) in (1..).zip(page.lines()) {
            if let Some(title) = heading(line) {
                part = Part::named(title);
                section = numbered(title).unwrap_or(section);
                continue;
            }
            match part {
                Part::Replaced => replaced.extend(cells(line, 1, number)),
                Part::Text => {
                    let read =
                        statement(line, &section).map_err(|e| format!("line {number}: {e}"))?;
                    let Some(statement) = read else { continue };
                    if catalogue.find(&statement.id).is_some() {
                        return Err(format!("line {number}: {} comes twice", statement.id));
                    }
                    catalogue.statements.push(statement);
                }
            }
        }
        catalogue.mark_replaced(&replaced)?;
        Ok(catalogue)
    }

    /// The statement with this id.
    pub(super) fn find(&self, id: &str) -> Option<&Statement> {
        self.statements.iter().find(|statement| statement.id == id)
    }

    /// Marks the statements that the words of the table name, by id or by section.
    fn mark_replaced(&mut self, words: &[(usize, String)]) -> Result<(), String> {
        for (line, word) in words {
            let mut found = false;
            for statement in &mut self.statements {
                if statement.id == *word || statement.is_in(word) {
                    statement.replaced = true;
                    found = true;
                }
            }
            if !found {
                return Err(format!("line {line}: there is no statement {word}"));
            }
        }
        Ok(())
    }
}

/// Which part of the page a line belongs to.
enum Part {
    Text,
    Replaced,
}

impl Part {
    fn named(title: &str) -> Part {
        match title {
            _ if title.starts_with("Replaced") => Part::Replaced,
            _ => Part::Text,
        }
    }
}

/// Whether the word has the form of an id: its kind, a hyphen, two digits or three, perhaps a letter.
pub(super) fn is_id(word: &str) -> bool {
    let Some((kind, number)) = word.split_once('-') else {
        return false;
    };
    let digits = number.trim_end_matches(|c: char| c.is_ascii_lowercase());
    KINDS.contains(&kind)
        && (2..=3).contains(&digits.len())
        && number.len() - digits.len() <= 1
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn heading(line: &str) -> Option<&str> {
    let title = line.trim_start_matches('#');
    (title.len() < line.len()).then(|| title.trim())
}

/// The number and the title of a heading, if it has a number: `3. Transport`, `3.4 Writing`.
fn numbered(title: &str) -> Option<(String, String)> {
    let (number, title) = title.split_once(' ')?;
    let number = number.trim_end_matches('.');
    let is_number = number.starts_with(|c: char| c.is_ascii_digit())
        && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    is_number.then(|| (number.to_owned(), title.to_owned()))
}

/// The words of one column of a table's row, each with its line; none for other lines and for the head of the table.
fn cells(line: &str, column: usize, number: usize) -> Vec<(usize, String)> {
    let Some(row) = line.strip_prefix('|') else {
        return Vec::new();
    };
    let words = row.split('|').nth(column).unwrap_or_default();
    words
        .split_whitespace()
        .filter(|word| word.contains(|c: char| c.is_ascii_digit()))
        .map(|word| (number, word.to_owned()))
        .collect()
}

/// The statement of a line, if it is one: `- **T-40** [N] ✓ text`.
fn statement(line: &str, section: &(String, String)) -> Result<Option<Statement>, String> {
    let Some((id, rest)) = line.strip_prefix("- **").and_then(|l| l.split_once("**")) else {
        return Ok(None);
    };
    // Other lists of the page have bold words too, the classes for one.
    if !id.contains('-') {
        return Ok(None);
    }
    if !is_id(id) {
        return Err(format!("{id} is not an id"));
    }
    let rest = rest.trim_start();
    let (class, text) = match rest.get(..3) {
        Some("[N]") => (Class::Normative, &rest[3..]),
        Some("[Q]") => (Class::Quirk, &rest[3..]),
        Some("[D]") => (Class::Defect, &rest[3..]),
        _ => return Err(format!("{id} has no class: [N], [Q] or [D]")),
    };
    let text = text.trim_start_matches([' ', '✓', ':']);
    let mut beginning: String = text.chars().take(BEGINNING).collect();
    if beginning.len() < text.len() {
        beginning.push('…');
    }
    Ok(Some(Statement {
        id: id.to_owned(),
        class,
        section: section.0.clone(),
        title: section.1.clone(),
        beginning,
        replaced: false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_kind_and_a_number() {
        for id in ["T-40", "L-01", "T-38a", "TLS-54a", "X-19"] {
            assert!(is_id(id), "{id}");
        }
        for word in ["T-4", "UTF-8", "Q-10", "T-40ab", "T-", "T40", "T-x1", "T-4000"] {
            assert!(!is_id(word), "{word}");
        }
    }

    #[test]
    fn a_statement_knows_its_class_and_its_section() {
        let page = "## 3. Transport\n### 3.4 Writing\n- **T-37** [D] ✓ Broken. Do: better.\n### Notes\n- **T-38** [N] Kept.\n";
        let statements = parse(page).expect("the page is well formed").statements;
        assert_eq!(statements[0].class, Class::Defect);
        assert_eq!(statements[0].section, "3.4");
        assert_eq!(statements[0].title, "Writing");
        assert_eq!(statements[0].beginning, "Broken. Do: better.");
        assert_eq!(statements[1].section, "3.4", "a heading without a number opens no section");
    }

    #[test]
    fn a_section_contains_those_below_it_and_no_others() {
        let page = "## 1. Loop\n### 1.10 Late\n- **L-01** [N] Text.\n";
        let statement = &parse(page).expect("the page is well formed").statements[0];
        assert!(statement.is_in("1") && statement.is_in("1.10"));
        assert!(!statement.is_in("1.1") && !statement.is_in("10"));
    }

    #[test]
    fn the_table_marks_by_id_and_by_section() {
        let page = "## Replaced: ours\n| rule | replaces | stays |\n|---|---|---|\n| new | L-01 5 | L-02 |\n\
            ## 1. Loop\n- **L-01** [N] One.\n- **L-02** [N] Two.\n## 5. Pipes\n- **P-01** [N] Three.\n";
        let catalogue = parse(page).expect("the page is well formed");
        let replaced = |id| catalogue.find(id).expect("it is on the page").replaced;
        assert_eq!(["L-01", "L-02", "P-01"].map(replaced), [true, false, true]);
    }

    #[test]
    fn a_page_that_is_not_well_formed_is_refused_with_the_line() {
        for (page, expected) in [
            ("- **T-40** No class.", "line 1: T-40 has no class: [N], [Q] or [D]"),
            ("\n- **T-4** [N] Short.", "line 2: T-4 is not an id"),
            ("- **T-40** [N] A.\n- **T-40** [N] B.", "line 2: T-40 comes twice"),
            ("## Replaced\n| rule | T-40 |", "line 2: there is no statement T-40"),
        ] {
            assert_eq!(parse(page).expect_err(page), expected);
        }
    }

    #[test]
    fn bold_words_of_other_lists_are_no_statements() {
        let page = "- **[N]** normative.\n- **bold** words.\n";
        assert!(parse(page).expect("the page is well formed").statements.is_empty());
    }

    fn parse(page: &str) -> Result<Catalogue, String> {
        Catalogue::parse(page)
    }
}

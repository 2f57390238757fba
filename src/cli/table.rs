//! Aligned columns of plain text. Pure; knows nothing of what stands in them.

/// Which side of its column a text keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// The space between two columns.
const GAP: &str = "  ";

/// A table with one line for `headings` and one per row. Every column is as wide as its widest text.
pub(crate) fn table(headings: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = headings.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let lines: Vec<&[String]> =
        std::iter::once(header.as_slice()).chain(rows.iter().map(Vec::as_slice)).collect();
    let aligns: Vec<Align> = headings.iter().map(|(_, align)| *align).collect();
    align(&aligns, &lines)
}

/// One line per field: its name, then its text.
pub(crate) fn fields<N: AsRef<str>>(fields: &[(N, String)]) -> String {
    let lines: Vec<[String; 2]> =
        fields.iter().map(|(name, text)| [name.as_ref().to_owned(), text.clone()]).collect();
    let lines: Vec<&[String]> = lines.iter().map(<[String; 2]>::as_slice).collect();
    align(&[Align::Left, Align::Left], &lines)
}

fn align(aligns: &[Align], lines: &[&[String]]) -> String {
    let width_of = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..aligns.len()).map(width_of).collect();
    let mut out = String::new();
    for line in lines {
        let mut cells = Vec::with_capacity(line.len());
        for ((text, align), width) in line.iter().zip(aligns).zip(&widths) {
            cells.push(match align {
                Align::Left => format!("{text:<width$}"),
                Align::Right => format!("{text:>width$}"),
            });
        }
        out.push_str(cells.join(GAP).trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_text() {
        let rows = [["a".to_owned(), "1200".to_owned()], ["größe".to_owned(), "7".to_owned()]];
        let text = table(&[("name", Align::Left), ("count", Align::Right)], &rows.map(Vec::from));
        assert_eq!(text, "name   count\na       1200\ngröße      7\n");
    }

    #[test]
    fn lines_end_without_spaces() {
        let text = fields(&[("value", "tea".to_owned()), ("context", String::new())]);
        assert_eq!(text, "value    tea\ncontext\n");
    }
}

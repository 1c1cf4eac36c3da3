//! Lays out tables as text: aligned columns, no borders, no colours. It must not know the meaning of the cells.

use comfy_table::presets::NOTHING;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headers {
    Show,
    Hide,
}

#[derive(Debug, Clone)]
pub struct TextTable {
    headers: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    #[must_use]
    pub fn new(headers: Vec<&'static str>) -> Self {
        Self { headers, rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One line per row, without trailing blanks.
    #[must_use]
    pub fn render(&self, headers: Headers) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        if headers == Headers::Show {
            table.set_header(&self.headers);
        }
        table.add_rows(&self.rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_under_wide_glyphs() {
        let mut table = TextTable::new(vec!["NAME", "PHASE", ""]);
        table.row(vec!["shop-1".into(), "✔ Succeeded".into(), String::new()]);
        table.row(vec!["crm-1795337600".into(), "✖ Failed".into(), "boom".into()]);
        assert_eq!(
            table.render(Headers::Show),
            "NAME            PHASE\nshop-1          ✔ Succeeded\ncrm-1795337600  ✖ Failed     boom\n"
        );
        assert_eq!(table.render(Headers::Hide), "shop-1          ✔ Succeeded\ncrm-1795337600  ✖ Failed     boom\n");
    }
}

//! What was measured: samples for each server, their medians, and ratios to the peers.

use serde_json::{Value, json};

use crate::servers::{Contender, RUSSET, Running};

/// Which way is better.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// More of it.
    Higher,
    /// Less of it.
    Lower,
}

/// What a figure is measured against.
#[derive(Clone, Copy)]
pub enum Bar {
    /// Russet's value over the better peer's is at least this.
    AtLeast(f64),
    /// Russet's value over the better peer's is at most this.
    AtMost(f64),
    /// Russet's value over Valkey's is at most this.
    AtMostOfValkey(f64),
    /// Russet's value itself is at most this.
    ValueAtMost(f64),
    /// Russet's value itself is at least this.
    ValueAtLeast(f64),
}

/// One measured quantity.
pub struct Figure {
    /// What it is.
    pub name: String,
    unit: &'static str,
    better: Better,
    bars: Vec<Bar>,
    samples: Vec<(String, Vec<f64>)>,
    /// What is to be said of a server's samples.
    notes: Vec<(String, String)>,
}

impl Figure {
    /// Nothing measured yet.
    pub fn new(name: &str, servers: &[Running]) -> Figure {
        let mut figure = Figure::named(name);
        figure.samples = servers
            .iter()
            .map(|s| (s.name.clone(), Vec::new()))
            .collect();
        figure
    }

    /// Nothing measured yet, of servers that come later.
    pub fn named(name: &str) -> Figure {
        Figure {
            name: name.to_owned(),
            unit: "",
            better: Better::Lower,
            bars: Vec::new(),
            samples: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// In this unit, less of it being better.
    pub fn lower(mut self, unit: &'static str) -> Figure {
        (self.unit, self.better) = (unit, Better::Lower);
        self
    }

    /// In this unit, more of it being better.
    pub fn higher(mut self, unit: &'static str) -> Figure {
        (self.unit, self.better) = (unit, Better::Higher);
        self
    }

    /// To be held against a bar.
    pub fn bar(mut self, bar: Bar) -> Figure {
        self.bars.push(bar);
        self
    }

    /// Adds a sample.
    pub fn add(&mut self, server: &str, value: f64) {
        if let Some((_, values)) = self.samples.iter_mut().find(|(name, _)| name == server) {
            values.push(value);
        } else {
            self.samples.push((server.to_owned(), vec![value]));
        }
    }

    /// Says something of a server's samples: that they are not what they should be, for instance.
    pub fn note(&mut self, server: &str, text: &str) {
        self.notes.push((server.to_owned(), text.to_owned()));
        if !self.samples.iter().any(|(name, _)| name == server) {
            self.samples.push((server.to_owned(), Vec::new()));
        }
    }

    /// What is said of a server's samples.
    fn notes_of(&self, server: &str) -> Vec<&str> {
        let of_it = self.notes.iter().filter(|(name, _)| name == server);
        of_it.map(|(_, text)| text.as_str()).collect()
    }

    /// A server's median.
    pub fn median(&self, server: &str) -> Option<f64> {
        let (_, values) = self.samples.iter().find(|(name, _)| name == server)?;
        median(values)
    }

    /// Russet's median over a peer's.
    fn ratio(&self, peer: &str) -> Option<f64> {
        let theirs = self.median(peer).filter(|m| *m > 0.0)?;
        Some(self.median(RUSSET)? / theirs)
    }

    /// Russet's median over that of the peer that did best.
    pub fn ratio_to_best(&self) -> Option<f64> {
        let ratios = self
            .samples
            .iter()
            .filter(|(name, _)| name != RUSSET)
            .filter_map(|(name, _)| self.ratio(name));
        match self.better {
            Better::Higher => ratios.reduce(f64::min),
            Better::Lower => ratios.reduce(f64::max),
        }
    }

    /// How many times better than the best peer.
    pub fn advantage(&self) -> Option<f64> {
        let ratio = self.ratio_to_best()?;
        Some(match self.better {
            Better::Higher => ratio,
            Better::Lower => 1.0 / ratio,
        })
    }

    /// The bars, each with whether it is held; `None` if it cannot be told.
    fn verdicts(&self) -> Vec<(String, Option<bool>)> {
        self.bars
            .iter()
            .map(|bar| match *bar {
                Bar::AtLeast(x) => (
                    format!("ratio >= {x}"),
                    self.ratio_to_best().map(|r| r >= x),
                ),
                Bar::AtMost(x) => (
                    format!("ratio <= {x}"),
                    self.ratio_to_best().map(|r| r <= x),
                ),
                Bar::AtMostOfValkey(x) => (
                    format!("ratio to valkey <= {x}"),
                    self.ratio("valkey").map(|r| r <= x),
                ),
                Bar::ValueAtMost(x) => (format!("<= {x}"), self.median(RUSSET).map(|m| m <= x)),
                Bar::ValueAtLeast(x) => (format!(">= {x}"), self.median(RUSSET).map(|m| m >= x)),
            })
            .collect()
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mid = sorted.len() / 2;
    let upper = sorted.get(mid).copied()?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    sorted
        .get(mid.wrapping_sub(1))
        .map(|low| (low + upper) / 2.0)
}

fn shown(x: f64) -> String {
    match x.abs() {
        a if a >= 1000.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        _ => format!("{x:.3}"),
    }
}

/// Prints a table.
pub fn print(figures: &[Figure]) {
    for f in figures {
        println!("  {} [{}]", f.name, f.unit);
        for (name, values) in &f.samples {
            let (Some(m), Some(low), Some(high)) = (
                median(values),
                values.iter().copied().reduce(f64::min),
                values.iter().copied().reduce(f64::max),
            ) else {
                let notes = f.notes_of(name).join("; ");
                let said = if notes.is_empty() {
                    "not there"
                } else {
                    &notes
                };
                println!("    {name:10} {said}");
                continue;
            };
            let notes: String = f
                .notes_of(name)
                .iter()
                .map(|n| format!("  [{n}]"))
                .collect();
            let spread = if values.len() > 1 {
                format!("  ({} .. {})", shown(low), shown(high))
            } else {
                String::new()
            };
            let ratio = match f.ratio(name) {
                Some(r) if name != RUSSET => format!("  {RUSSET} is {r:.3} of it"),
                _ => String::new(),
            };
            println!("    {name:10} {:>10}{spread}{ratio}{notes}", shown(m));
        }
        for (bar, held) in f.verdicts() {
            let verdict = match held {
                Some(true) => "held",
                Some(false) => "MISSED",
                None => "cannot be told",
            };
            println!("    bar {bar}: {verdict}");
        }
    }
}

/// The same for other programs.
pub fn json(contenders: &[Contender], all: &[(&str, Vec<Figure>)]) -> Value {
    let versions: Value = contenders
        .iter()
        .map(|c| (c.name.clone(), Value::from(c.version.clone())))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let scenarios: Vec<Value> = all
        .iter()
        .map(|(name, figures)| json!({"scenario": name, "figures": figures_json(figures)}))
        .collect();
    json!({"servers": versions, "scenarios": scenarios})
}

fn figures_json(figures: &[Figure]) -> Value {
    figures
        .iter()
        .map(|f| {
            let servers: serde_json::Map<String, Value> = f
                .samples
                .iter()
                .map(|(name, values)| {
                    let entry = json!({
                        "median": median(values),
                        "min": values.iter().copied().reduce(f64::min),
                        "max": values.iter().copied().reduce(f64::max),
                        "samples": values,
                        "russet_over_it": f.ratio(name),
                        "notes": f.notes_of(name),
                    });
                    (name.clone(), entry)
                })
                .collect();
            let bars: Vec<Value> = f
                .verdicts()
                .into_iter()
                .map(|(bar, held)| json!({"bar": bar, "held": held}))
                .collect();
            json!({
                "name": f.name,
                "unit": f.unit,
                "better": if f.better == Better::Higher { "higher" } else { "lower" },
                "servers": servers,
                "ratio_to_best_peer": f.ratio_to_best(),
                "bars": bars,
            })
        })
        .collect()
}

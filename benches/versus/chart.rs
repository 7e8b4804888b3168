//! The results as one SVG chart: a bar for each figure, as long as Russet is better than the
//! better peer, on a logarithmic scale around the line at which they are equal.

use std::fmt::Write;

use crate::figures::Figure;

const WIDTH: f64 = 900.0;
const LABELS: f64 = 420.0;
const ROW: f64 = 20.0;
/// The scale ends at this many times better or worse.
const LIMIT: f64 = 16.0;

/// Draws the figures of all scenarios.
pub fn draw(all: &[(&str, Vec<Figure>)]) -> String {
    let mut body = String::new();
    let mut y = 40.0;
    let middle = LABELS + (WIDTH - LABELS) / 3.0;
    let unit = (WIDTH - 90.0 - middle) / LIMIT.log2();
    for (scenario, figures) in all {
        let rows: Vec<(&Figure, f64)> = figures
            .iter()
            .filter_map(|f| f.advantage().map(|a| (f, a)))
            .collect();
        if rows.is_empty() {
            continue;
        }
        y += 8.0;
        text(&mut body, 10.0, y + 14.0, "bold", scenario);
        y += ROW;
        for (figure, times) in rows {
            let room = (middle - LABELS) / unit;
            let length = times.log2().clamp(-room, LIMIT.log2()) * unit;
            let (x, colour) = if length < 0.0 {
                (middle + length, "#c0504d")
            } else {
                (middle, "#2f7d5b")
            };
            text(&mut body, 24.0, y + 14.0, "normal", &figure.name);
            // Writing to a string does not fail.
            let _ = writeln!(
                body,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
                 fill=\"{colour}\"/>",
                y + 3.0,
                length.abs().max(1.0),
                ROW - 6.0
            );
            let at = middle + length.max(0.0) + 6.0;
            text(&mut body, at, y + 14.0, "normal", &format!("{times:.2}x"));
            y += ROW;
        }
    }
    let height = y + 20.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"24\" font-size=\"15\">Russet against the better of its peers: times \
         better (logarithmic; left of the line is worse)</text>\n\
         <line x1=\"{middle}\" y1=\"36\" x2=\"{middle}\" y2=\"{:.1}\" stroke=\"#444\"/>\n\
         {body}</svg>\n",
        height - 10.0
    )
}

fn text(out: &mut String, x: f64, y: f64, weight: &str, what: &str) {
    let what = what
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-weight=\"{weight}\">{what}</text>"
    );
}

//! The course of a training as a picture.

use std::path::Path;

use adit_example_training::Point;
use anyhow::{Result, anyhow};
use plotters::prelude::*;

const SIZE: (u32, u32) = (800, 450);
const LEARNED: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const HELD_OUT: RGBColor = RGBColor(0xd6, 0x27, 0x28);
const LOSS: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// Writes the curve to `path` as SVG: which part of the pictures is read right after each epoch, and the loss.
pub(crate) fn write(path: &Path, points: &[Point]) -> Result<()> {
    // What the library gives of an error does not outlive its picture.
    draw(SVGBackend::new(path, SIZE).into_drawing_area(), points)
        .map_err(|error| anyhow!("cannot write {}: {error}", path.display()))
}

fn draw<B: DrawingBackend>(area: DrawingArea<B, plotters::coord::Shift>, points: &[Point]) -> Result<(), String> {
    let told = |error: DrawingAreaErrorKind<B::ErrorType>| error.to_string();
    let loss_max = points.iter().map(|point| point.loss).fold(0.1, f32::max);
    area.fill(&WHITE).map_err(told)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .right_y_label_area_size(48)
        .build_cartesian_2d(1.0..points.len().max(2) as f32, 0.0_f32..100.0)
        .map_err(told)?
        .set_secondary_coord(1.0..points.len().max(2) as f32, 0.0..loss_max);
    chart
        .configure_mesh()
        .max_light_lines(1)
        .x_desc("epoch")
        .y_desc("digits read right, %")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()
        .map_err(told)?;
    chart.configure_secondary_axes().y_desc("loss").draw().map_err(told)?;
    let line = |of: fn(&Point) -> f32| points.iter().zip(1_u16..).map(move |(point, epoch)| (f32::from(epoch), of(point)));
    let mark = |color: RGBColor| move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2));
    chart
        .draw_secondary_series(LineSeries::new(line(|point| point.loss), LOSS.stroke_width(2)))
        .map_err(told)?
        .label("loss")
        .legend(mark(LOSS));
    for (color, label, of) in [
        (LEARNED, "pictures that it learns from", (|point| point.learned * 100.0) as fn(&Point) -> f32),
        (HELD_OUT, "pictures that were held out", |point| point.held_out * 100.0),
    ] {
        chart.draw_series(LineSeries::new(line(of), color.stroke_width(2))).map_err(told)?.label(label).legend(mark(color));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()
        .map_err(told)?;
    area.present().map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curve_has_three_lines_with_their_names() {
        let point = |n: f32| Point { loss: 2.0 / n, learned: 1.0 - 0.5 / n, held_out: 1.0 - 0.6 / n };
        let points: Vec<Point> = [1.0, 2.0, 4.0].map(point).to_vec();
        let mut svg = String::new();
        draw(SVGBackend::with_string(&mut svg, SIZE).into_drawing_area(), &points).unwrap();
        for text in ["<svg", "epoch", "loss", "pictures that it learns from", "pictures that were held out", "</svg>"] {
            assert!(svg.contains(text), "{text}");
        }
        for color in ["#1F77B4", "#D62728", "#808080"] {
            assert!(svg.contains(&format!("stroke=\"{color}\"")), "{color}");
        }
        let mut again = String::new();
        draw(SVGBackend::with_string(&mut again, SIZE).into_drawing_area(), &points).unwrap();
        assert_eq!(again, svg);
    }

    #[test]
    fn curve_of_one_epoch_is_drawn_too() {
        let mut svg = String::new();
        let points = [Point { loss: 0.0, learned: 1.0, held_out: 1.0 }];
        draw(SVGBackend::with_string(&mut svg, SIZE).into_drawing_area(), &points).unwrap();
        assert!(svg.ends_with("</svg>\n"), "{svg}");
    }
}

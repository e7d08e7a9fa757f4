//! A code to scan, in half blocks: two modules in the height of one letter, so that they are square.

use qrcode::{Color, EcLevel, QrCode};

/// The standard asks for four modules around it; readers are content with two, and a screen of 24 lines has no more.
const QUIET: usize = 2;

/// Lines of the code of `text`; none if it is too long.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let Ok(code) = QrCode::with_error_correction_level(text, EcLevel::L) else { return Vec::new() };
    let (width, colors) = (code.width(), code.to_colors());
    let whole = width + 2 * QUIET;
    // Dark is what is not drawn: the letters are light on a dark ground.
    let light = |x: usize, y: usize| {
        let inside = x.checked_sub(QUIET).zip(y.checked_sub(QUIET)).filter(|(x, y)| *x < width && *y < width);
        inside.is_none_or(|(x, y)| colors.get(y * width + x) != Some(&Color::Dark))
    };
    let letter = |x: usize, y: usize| match (light(x, y), y + 1 < whole && light(x, y + 1)) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    };
    (0..whole).step_by(2).map(|y| (0..whole).map(|x| letter(x, y)).collect()).collect()
}

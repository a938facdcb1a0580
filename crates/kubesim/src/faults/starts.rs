//! What delays or prevents the start of containers.

use std::time::Duration;

/// What the kubelet is told about starts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Starts {
    /// How much longer every container takes.
    pub slow: Duration,
    /// The share of pulls that fail.
    pub pull_errors: f64,
    /// The images that cannot be pulled.
    pub broken: Vec<String>,
    /// Where the randomness of pulls begins. It is one of its own: how many requests come meanwhile must not matter.
    pub seed: u64,
    /// How often it was begun again.
    pub sown: u64,
}

impl Starts {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub(super) fn seeded(&mut self, seed: u64) {
        self.seed = seed;
        self.sown += 1;
    }

    pub(super) fn clear(&mut self) {
        (self.slow, self.pull_errors, self.broken) = Default::default();
    }

    /// Whether an image cannot be pulled, whatever chance says.
    pub(crate) fn breaks(&self, image: &str) -> bool {
        let name = untagged(image);
        self.broken.iter().any(|pattern| fits(pattern, image) || fits(pattern, name))
    }
}

fn untagged(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or("");
    // The colon of a port is followed by a path.
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(tail) = text.strip_prefix(head) else { return false };
    (0..=tail.len()).filter(|at| tail.is_char_boundary(*at)).any(|at| fits(rest, &tail[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_broken_by_name_or_by_pattern() {
        for (pattern, image, expected) in [
            ("web:2", "web:2", true),
            ("web:2", "web:21", false),
            ("web", "web:2", true),
            ("web", "web@sha256:00", true),
            ("web", "webber:2", false),
            ("host:5000/web", "host:5000/web", true),
            ("host:5000/web", "host:5000/web:2", true),
            ("*/web:*", "host:5000/web:2", true),
            ("*/web:*", "web:2", false),
            ("*", "anything", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
        ] {
            let starts = Starts { broken: vec![pattern.to_owned()], ..Starts::default() };
            assert_eq!(starts.breaks(image), expected, "{pattern} {image}");
        }
    }
}

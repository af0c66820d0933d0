use crate::sampler::{Sampler, disc};
use crate::vec3::{Vec3, max, min};

/// The index of refraction of varnish, glaze and most plastics.
const COAT_INDEX: f32 = 1.5;

/// How often a path that can be mirrored is, however little light takes that way.
const MIRROR_CHANCE_MIN: f32 = 0.2;

/// What a surface does with light.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Material {
    /// Scatters `albedo` of the light evenly: chalk, paper.
    Diffuse { albedo: Vec3 },
    /// The same under a clear coat, which mirrors the more the flatter one looks at it: glazed clay, polished stone.
    Coated { albedo: Vec3 },
    /// Mirrors `tint` of the light into a cone: `fuzz` 0 is a mirror, 1 a cone of 45 degrees.
    Metal { tint: Vec3, fuzz: f32 },
    /// Mirrors some and lets the rest through, broken by the index of refraction; each way through the surface costs the `tint`.
    Glass { tint: Vec3, index: f32 },
    /// Shines to its outer side, and is black on the inner one.
    Light { radiance: Vec3 },
}

/// What becomes of a ray at a surface.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scatter {
    /// It goes on in any direction of the hemisphere over the surface, with the cosine's density.
    Diffuse { albedo: Vec3 },
    /// It goes on in this unit direction.
    Directed { direction: Vec3, tint: Vec3 },
    /// It ends here, at a light that is this bright.
    Emitted { radiance: Vec3 },
    /// It ends here.
    Absorbed,
}

/// Where a ray meets a surface, as a material sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facing {
    /// The unit normal on the side that the ray comes from.
    pub(crate) normal: Vec3,
    /// Whether that is the outer side.
    pub(crate) is_outer: bool,
}

impl Facing {
    /// How a ray of this `direction` meets a surface with this `outward` normal.
    pub(crate) fn new(direction: Vec3, outward: Vec3) -> Self {
        let is_outer = direction.dot(outward) < 0.0;
        Self { normal: if is_outer { outward } else { -outward }, is_outer }
    }

    /// The same of a surface that looks round, with this `outward` normal. `None` where the ray comes from behind of that.
    pub(crate) fn rounded(self, direction: Vec3, outward: Vec3) -> Option<Self> {
        let normal = if self.is_outer { outward } else { -outward };
        (direction.dot(normal) < 0.0).then_some(Self { normal, ..self })
    }
}

impl Material {
    /// The same material with its paint under a filter of this colour. What has no paint stays as it is.
    pub(crate) fn filtered(self, colour: Vec3) -> Self {
        match self {
            Self::Diffuse { albedo } => Self::Diffuse { albedo: albedo * colour },
            Self::Coated { albedo } => Self::Coated { albedo: albedo * colour },
            other => other,
        }
    }

    /// One of the ways that a ray of the unit `direction` can take here, drawn by how much light takes each.
    pub(crate) fn scatter(&self, direction: Vec3, facing: Facing, sampler: &mut Sampler) -> Scatter {
        match *self {
            Self::Diffuse { albedo } => Scatter::Diffuse { albedo },
            Self::Coated { albedo } => {
                let share = reflectance(-direction.dot(facing.normal), COAT_INDEX);
                match choose(share, sampler.number()) {
                    Choice::Mirrored(weight) => {
                        Scatter::Directed { direction: direction.reflect(facing.normal), tint: Vec3::splat(weight) }
                    }
                    Choice::Other(weight) => Scatter::Diffuse { albedo: albedo * weight },
                }
            }
            Self::Metal { tint, fuzz } => fuzzy_mirror(direction, facing.normal, tint, fuzz, sampler.pair()),
            Self::Glass { tint, index } => {
                let (direction, weight) = glass_direction(direction, facing, index, sampler.number());
                Scatter::Directed { direction, tint: tint * weight }
            }
            Self::Light { radiance } if facing.is_outer => Scatter::Emitted { radiance },
            Self::Light { .. } => Scatter::Absorbed,
        }
    }
}

fn fuzzy_mirror(direction: Vec3, normal: Vec3, tint: Vec3, fuzz: f32, pair: (f32, f32)) -> Scatter {
    let mirrored = direction.reflect(normal);
    let (a, b) = mirrored.tangents();
    let (x, y) = disc(pair);
    let direction = (mirrored + (a * x + b * y) * fuzz).normalized();
    if direction.dot(normal) > 0.0 { Scatter::Directed { direction, tint } } else { Scatter::Absorbed }
}

/// The way on through glass that `number` draws, and its weight.
fn glass_direction(direction: Vec3, Facing { normal, is_outer }: Facing, index: f32, number: f32) -> (Vec3, f32) {
    let ratio = if is_outer { 1.0 / index } else { index };
    let mirrored = direction.reflect(normal);
    let Some(refracted) = direction.refract(normal, ratio) else { return (mirrored, 1.0) };
    // Schlick's curve wants the angle in the thinner medium.
    let cosine = if is_outer { -direction.dot(normal) } else { -refracted.dot(normal) };
    match choose(reflectance(cosine, index), number) {
        Choice::Mirrored(weight) => (mirrored, weight),
        Choice::Other(weight) => (refracted, weight),
    }
}

/// One of the two ways on from a clear surface, and what the path then counts for.
#[derive(Debug, Clone, Copy)]
enum Choice {
    Mirrored(f32),
    Other(f32),
}

/// Draws one of two ways by a `number` from [0, 1). The way that takes `share` of the light is drawn more often than that where the share is
/// small, and counts for less: a lamp's reflection in a coat is a highlight then, and not a few white dots.
fn choose(share: f32, number: f32) -> Choice {
    let chance = max(share, MIRROR_CHANCE_MIN);
    if number < chance { Choice::Mirrored(share / chance) } else { Choice::Other((1.0 - share) / (1.0 - chance)) }
}

/// The share of light that a clear surface mirrors (Schlick 1994), for the cosine to the normal on its thinner side.
fn reflectance(cosine: f32, index: f32) -> f32 {
    let straight = (1.0 - index) / (1.0 + index);
    let straight = straight * straight;
    let away = 1.0 - min(cosine, 1.0);
    let away_squared = away * away;
    straight + (1.0 - straight) * away_squared * away_squared * away
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vec3::vec3;

    const UP: Vec3 = vec3(0.0, 1.0, 0.0);
    const SLANTED: Vec3 = vec3(0.6, -0.8, 0.0);
    const TINT: Vec3 = vec3(0.9, 0.6, 0.3);

    fn sampler() -> Sampler {
        Sampler::new(11, 0, 0, 1)
    }

    /// The share of a thousand scatterings that `test` holds for.
    fn share(material: Material, direction: Vec3, outward: Vec3, test: impl Fn(Scatter) -> bool) -> f32 {
        let mut sampler = sampler();
        let facing = Facing::new(direction, outward);
        (0..1000).filter(|_| test(material.scatter(direction, facing, &mut sampler))).count() as f32 / 1000.0
    }

    /// The share of light that goes on in directions that `test` holds for.
    fn mean_tint(material: Material, direction: Vec3, test: impl Fn(Vec3) -> bool) -> f32 {
        let mut sampler = sampler();
        let facing = Facing::new(direction, UP);
        let tints = (0..1000).map(|_| match material.scatter(direction, facing, &mut sampler) {
            Scatter::Directed { direction, tint } if test(direction) => tint.x,
            _ => 0.0,
        });
        tints.sum::<f32>() / 1000.0
    }

    #[test]
    fn reflectance_runs_from_the_straight_value_to_all() {
        assert!((reflectance(1.0, 1.5) - 0.04).abs() < 1e-6);
        assert!((reflectance(0.0, 1.5) - 1.0).abs() < 1e-6);
        assert!(reflectance(0.3, 1.5) > reflectance(0.4, 1.5));
    }

    #[test]
    fn a_mirror_reflects_and_tints() {
        let mirror = Material::Metal { tint: TINT, fuzz: 0.0 };
        let Scatter::Directed { direction, tint } = mirror.scatter(SLANTED, Facing::new(SLANTED, UP), &mut sampler()) else {
            panic!("a mirror directs light");
        };
        assert!((direction - vec3(0.6, 0.8, 0.0)).length() < 1e-6);
        assert_eq!(tint, TINT);
    }

    #[test]
    fn fuzz_spreads_the_mirrored_light_within_its_cone_and_never_into_the_metal() {
        let metal = Material::Metal { tint: TINT, fuzz: 0.5 };
        let grazing = vec3(0.99, -0.1, 0.0).normalized();
        let mirrored = grazing.reflect(UP);
        let is_kept = |scatter| match scatter {
            Scatter::Directed { direction, .. } => {
                assert!(direction.dot(UP) > 0.0);
                assert!(direction.dot(mirrored) > 1.0 / (1.0f32 + 0.25).sqrt() - 1e-4, "the cone's slope is the fuzz");
                true
            }
            _ => false,
        };
        let kept = share(metal, grazing, UP, is_kept);
        assert!((0.4..0.9).contains(&kept), "part of the cone is under the surface: {kept}");
    }

    #[test]
    fn a_choice_is_drawn_and_weighed_so_that_no_light_is_lost_or_made() {
        for share in [0.0, 0.04, 0.2, 0.7, 1.0] {
            let (mut mirrored, mut other) = (0.0, 0.0);
            for step in 0..1000 {
                match choose(share, step as f32 / 1000.0) {
                    Choice::Mirrored(weight) => mirrored += weight / 1000.0,
                    Choice::Other(weight) => other += weight / 1000.0,
                }
            }
            assert!((mirrored - share).abs() < 0.002 && (other - (1.0 - share)).abs() < 0.002, "{share}: {mirrored} {other}");
        }
    }

    #[test]
    fn glass_mirrors_the_share_that_schlick_says() {
        let glass = Material::Glass { tint: Vec3::ONE, index: 1.5 };
        for direction in [-UP, SLANTED, vec3(0.96, -0.28, 0.0)] {
            let mirrored = mean_tint(glass, direction, |direction| direction.y > 0.0);
            let expected = reflectance(-direction.y, 1.5);
            assert!((mirrored - expected).abs() < 0.03, "{direction:?}: {mirrored}");
            let refracted = mean_tint(glass, direction, |direction| direction.y < 0.0);
            assert!((refracted - (1.0 - expected)).abs() < 0.06, "{direction:?}: {refracted}");
        }
    }

    #[test]
    fn glass_keeps_flat_light_inside() {
        let glass = Material::Glass { tint: Vec3::ONE, index: 1.5 };
        // The outer side is below: the ray comes from within, beyond the critical angle.
        assert_eq!(
            share(
                glass,
                vec3(0.8, -0.6, 0.0),
                -UP,
                |scatter| matches!(scatter, Scatter::Directed { direction, .. } if direction.y > 0.0)
            ),
            1.0
        );
    }

    #[test]
    fn light_through_a_pane_leaves_as_it_came() {
        let facing_in = Facing::new(SLANTED, UP);
        let (inside, _) = glass_direction(SLANTED, facing_in, 1.5, 0.999);
        assert!(inside.y < SLANTED.y, "broken towards the normal");
        let facing_out = Facing::new(inside, -UP);
        assert!(!facing_out.is_outer);
        let (outside, _) = glass_direction(inside, facing_out, 1.5, 0.999);
        assert!((outside - SLANTED).length() < 1e-5);
    }

    #[test]
    fn a_coat_mirrors_flat_light_and_lets_straight_light_to_the_paint() {
        let coated = Material::Coated { albedo: TINT };
        let all = |_| true;
        assert!((mean_tint(coated, -UP, all) - 0.04).abs() < 0.01);
        assert!(mean_tint(coated, vec3(0.999, -0.04, 0.0).normalized(), all) > 0.7);
        let is_paint = |scatter| matches!(scatter, Scatter::Diffuse { .. });
        assert!((share(coated, -UP, UP, is_paint) - (1.0 - MIRROR_CHANCE_MIN)).abs() < 0.04);
    }

    #[test]
    fn a_light_shines_to_one_side() {
        let light = Material::Light { radiance: TINT };
        assert_eq!(light.scatter(-UP, Facing::new(-UP, UP), &mut sampler()), Scatter::Emitted { radiance: TINT });
        assert_eq!(light.scatter(-UP, Facing::new(-UP, -UP), &mut sampler()), Scatter::Absorbed);
    }
}

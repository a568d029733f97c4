//! Traffic as a function of time, so that any frame can be rendered independently.
//!
//! In: a street and a time in seconds. Out: the [`Actor`]s in the street at that time. Each keeps a lane and a speed. Their
//! appearance and start are drawn from the seed, the lane and a running number, which is also the id. The two streets and
//! the pedestrian crossings have green in turn, so there are no collisions at the crossing.

use super::Label;
use super::person::Person;
use super::random::Random;
use super::street::{BICYCLE_LANE, CROSSING, KERB, LANE, PARKING, Street};
use super::two_wheeler::TwoWheeler;
use super::vehicle::Vehicle;

/// Seconds of one round of the traffic lights.
const ROUND: f64 = 16.0;

/// Seconds between the two slots of a round in a lane.
const HEADWAY: f64 = 3.0;

/// Rounds before time 0 from which ids are counted, since slow actors started that long ago.
const BEFORE: i64 = 64;

/// Ids of one round: twice the lanes, rounded up.
const IDS: i64 = 64;

/// Class and appearance of an actor.
#[derive(Debug, Clone)]
pub(super) enum Appearance {
    /// A vehicle.
    Vehicle(Vehicle),
    /// A two-wheeler and its rider.
    TwoWheeler(TwoWheeler),
    /// A person on foot.
    Person(Person),
}

impl Appearance {
    /// Class.
    pub(super) fn label(&self) -> Label {
        match self {
            Self::Vehicle(_) => Label::Vehicle,
            Self::TwoWheeler(_) => Label::TwoWheeler,
            Self::Person(_) => Label::Person,
        }
    }

    /// Metres: length, height, width.
    pub(super) fn size(&self) -> [f32; 3] {
        match self {
            Self::Vehicle(vehicle) => vehicle.size,
            Self::TwoWheeler(_) => [1.7, 1.7, 0.5],
            Self::Person(person) => [0.4, person.height, 0.45],
        }
    }
}

/// State of an actor at a time.
#[derive(Debug, Clone)]
pub(super) struct Actor {
    /// Id, unique in the scene and constant over frames.
    pub(super) id: u32,
    /// Class.
    pub(super) appearance: Appearance,
    /// X and Z in metres.
    pub(super) place: [f32; 2],
    /// X and Z, length 1.
    pub(super) heading: [f32; 2],
    /// Metres a second along the heading.
    pub(super) speed: f32,
    /// Phase of legs or pedals, in turns.
    pub(super) phase: f32,
}

/// A lane.
#[derive(Debug, Clone)]
struct Lane {
    label: Label,
    /// Along Z (the street) or along X (the crossing street).
    ahead: bool,
    /// X of a lane along Z, Z of a lane along X: from, to.
    across: [f32; 2],
    direction: f32,
    speed: [f32; 2],
    /// Green phase, in seconds of a round.
    green: f64,
    /// Position at green.
    junction: f32,
    /// Probability that a slot of a round is used.
    share: f32,
    range: [f32; 2],
}

/// All lanes of a street.
#[derive(Debug, Clone)]
pub(super) struct Traffic {
    seed: u64,
    lanes: Vec<Lane>,
    standing: Vec<Actor>,
    begin: f64,
}

impl Traffic {
    /// The traffic of a street.
    pub(super) fn new(street: &Street) -> Self {
        let mut random = Random::keyed(street.seed, &[40]);
        let busy = street.traffic;
        let far = (street.end - 2.0).min(58.0);
        let ahead = [-8.0, far];
        let aside = [-26.0, 26.0];
        let mut lanes = Vec::new();
        let cars = random.range(6.0, 10.5);
        let mut lane = |label, ahead, across, direction, speed, green, junction, share, range| {
            lanes.push(Lane { label, ahead, across, direction, speed, green, junction, share, range });
        };
        let crossing = street.crossing;
        for side in [1.0f32, -1.0] {
            // Traffic on the right moves away from the camera.
            lane(Label::Vehicle, true, [side * LANE; 2], side, [cars; 2], 0.0, crossing, 0.8 * busy, ahead);
            let bicycles = random.range(3.2, 6.5);
            let at = [side * (BICYCLE_LANE - 0.2), side * (BICYCLE_LANE + 0.2)];
            lane(Label::TwoWheeler, true, at, side, [bicycles; 2], 0.5, crossing, 0.75 * busy, ahead);
            let cross = random.range(5.0, 9.0);
            lane(Label::Vehicle, false, [crossing - side * LANE; 2], side, [cross; 2], 7.5, 0.0, 0.7 * busy, aside);
            let slow = random.range(3.5, 6.0);
            let edge = crossing - side * (CROSSING - 0.55);
            lane(Label::TwoWheeler, false, [edge; 2], side, [slow; 2], 8.0, 0.0, 0.65 * busy, aside);
            let walk = [side * (KERB + 1.2), side * (street.wall - 0.7)];
            let walking = [0.9, 1.7];
            for direction in [1.0f32, -1.0] {
                lane(Label::Person, true, walk, direction, walking, 0.0, crossing, 0.28 * busy, ahead);
                let zebra = [crossing - CROSSING - 5.2, crossing - CROSSING - 2.9];
                if side > 0.0 {
                    let width = [-street.wall + 0.5, street.wall - 0.5];
                    lane(Label::Person, false, zebra, direction, [1.5, 1.9], 10.0, 0.0, 0.6 * busy, width);
                    let pavement = [crossing + CROSSING + 0.6, crossing + CROSSING + 1.7];
                    lane(Label::Person, false, pavement, direction, [1.4, 1.9], 10.0, 0.0, 0.35 * busy, aside);
                }
            }
        }
        let begin = f64::from(random.range(0.0, 600.0));
        Self { seed: street.seed, lanes, standing: standing(street, far), begin }
    }

    /// Actors in the street at `time`, in seconds, unordered.
    pub(super) fn at(&self, time: f64) -> Vec<Actor> {
        let mut actors = self.standing.clone();
        let now = self.begin + time;
        for (index, lane) in self.lanes.iter().enumerate() {
            let reach = f64::from((lane.range[1] - lane.junction).max(lane.junction - lane.range[0]) / lane.speed[0]);
            let first = ((now - lane.green - reach) / ROUND).floor() as i64 - 1;
            let last = ((now - lane.green + reach) / ROUND).ceil() as i64;
            for round in first..=last {
                actors.extend((0..2).filter_map(|place| self.actor(index, lane, round, place, now)));
            }
        }
        actors
    }

    fn actor(&self, index: usize, lane: &Lane, round: i64, place: i64, now: f64) -> Option<Actor> {
        let number = (round + BEFORE).checked_mul(IDS)? + place * (IDS / 2) + index as i64;
        let id = u32::try_from(number).ok()?.checked_add(IDS as u32)?;
        let mut random = Random::keyed(self.seed, &[41, u64::from(id)]);
        if !random.chance(lane.share) {
            return None;
        }
        let green = round as f64 * ROUND + lane.green + place as f64 * HEADWAY + f64::from(random.range(0.0, 1.0));
        let speed = random.range(lane.speed[0], lane.speed[1]);
        let gone = (now - green) * f64::from(speed);
        let along = lane.junction + lane.direction * gone as f32;
        if along < lane.range[0] || along > lane.range[1] {
            return None;
        }
        let across = random.range(lane.across[0], lane.across[1]);
        let (place, heading) = if lane.ahead {
            ([across, along], [0.0, lane.direction])
        } else {
            ([along, across], [lane.direction, 0.0])
        };
        // A slow lateral oscillation, with its slope in the heading.
        let appearance = match lane.label {
            Label::Vehicle => Appearance::Vehicle(Vehicle::new(&mut random, false)),
            Label::TwoWheeler => Appearance::TwoWheeler(TwoWheeler::new(&mut random)),
            Label::Person => Appearance::Person(Person::new(&mut random)),
        };
        let turn = random.range(-0.3, 0.3) * if lane.label == Label::Vehicle { 0.12 } else { 1.0 };
        let heading = [heading[0] + turn * heading[1], heading[1] - turn * heading[0]];
        let length = (heading[0] * heading[0] + heading[1] * heading[1]).sqrt();
        let heading = heading.map(|part| part / length);
        let step = match lane.label {
            Label::Person => 1.45,
            _ => 3.2,
        };
        let phase = (gone / step + f64::from(random.unit())).rem_euclid(1.0) as f32;
        Some(Actor { id, appearance, place, heading, speed, phase })
    }
}

/// Parked cars and waiting persons, which have the first ids.
fn standing(street: &Street, far: f32) -> Vec<Actor> {
    let mut actors = Vec::new();
    for slot in 0..18u32 {
        let mut random = Random::keyed(street.seed, &[42, u64::from(slot)]);
        let side = if slot % 2 == 0 { 1.0f32 } else { -1.0 };
        let z = 7.0 + (slot / 2) as f32 * 6.4 + random.range(-0.4, 0.4);
        let clear = (z - street.crossing).abs() > CROSSING + 9.0;
        if random.chance(0.34) && clear && z < far {
            let x = side * (PARKING + random.range(-0.1, 0.12));
            let heading = [0.0, if random.chance(0.9) { side } else { -side }];
            let appearance = Appearance::Vehicle(Vehicle::new(&mut random, true));
            actors.push(Actor { id: slot, appearance, place: [x, z], heading, speed: 0.0, phase: 0.0 });
        }
    }
    for slot in 0..8u32 {
        let mut random = Random::keyed(street.seed, &[43, u64::from(slot)]);
        let side = if slot % 2 == 0 { 1.0 } else { -1.0 };
        let z = random.range(6.0, 36.0);
        if random.chance(0.22) && (z - street.crossing).abs() > CROSSING + 1.0 {
            let x = side * random.range(KERB + 0.8, street.wall - 0.5);
            #[allow(clippy::approx_constant)] // the bytes of every street hang on this number
            let angle = random.range(0.0, 6.283);
            let heading = [libm::sinf(angle), libm::cosf(angle)];
            let appearance = Appearance::Person(Person::new(&mut random));
            actors.push(Actor { id: 20 + slot, appearance, place: [x, z], heading, speed: 0.0, phase: random.unit() });
        }
    }
    actors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_moment_can_be_asked_for_and_ids_are_unique() {
        let traffic = Traffic::new(&Street::new(5));
        for time in [0.0, 3.3, 1000.0, 86_400.0] {
            let mut ids: Vec<u32> = traffic.at(time).iter().map(|actor| actor.id).collect();
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), count, "at {time}");
        }
    }

    #[test]
    fn somebody_goes_on_at_his_speed() {
        let traffic = Traffic::new(&Street::new(6));
        let (before, after) = (traffic.at(10.0), traffic.at(10.1));
        let mut moved = 0;
        for actor in before.iter().filter(|actor| actor.speed > 0.0) {
            let Some(later) = after.iter().find(|later| later.id == actor.id) else { continue };
            let (dx, dz) = (later.place[0] - actor.place[0], later.place[1] - actor.place[1]);
            assert!(((dx * dx + dz * dz).sqrt() - actor.speed * 0.1).abs() < 0.01);
            moved += 1;
        }
        assert!(moved > 3);
    }
}

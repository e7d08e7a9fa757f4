//! A burn-in's result stream that is good, and what its tasks came to.

use appliance_model::{
    Now,
    burn_in::staged::{Done, Figure, Outcome, Series, Task, Unit},
    inventory::Inventory,
};
use firmware_checks_burn_in::{
    staged::{Given, Profile, built_in_text, device, models, plan},
    stream::{Dut, Opening, Writer, judge},
};

/// When everything happens.
pub const AT: Now = Now(1_795_205_543_004);

/// What a task came to, as these bytes have it.
#[must_use]
pub fn outcome(task: &Task, boot: u32, bytes: &[u8]) -> (Outcome, Vec<Series>) {
    let device = device(&task.work);
    let text = String::from_utf8_lossy(bytes);
    let value = bytes.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let figure = |name: &str, unit| Figure {
        name: name.into(),
        device: device.clone(),
        value,
        unit,
        attained: bytes.first().map(|byte| byte & 1 == 1),
    };
    let figures = vec![figure("wrong-answers", Unit::Count), figure(&text, Unit::Permille)];
    let done = if value % 5 == 4 {
        Done::Undone { why: text.into_owned() }
    } else {
        Done::Measured {
            figures,
            faults: vec![text.to_string(); usize::from(value % 5 == 3)],
            coverage: vec![text.into()],
        }
    };
    let seconds = task.seconds;
    let curve =
        Series { device, name: "rate".into(), unit: Unit::Bytes, points: vec![(0, value), (seconds, 1)] };
    (Outcome { task: task.id.clone(), boot, seconds, done }, vec![curve; usize::from(value % 2 == 1)])
}

/// A demo run of two boots, from its first line to its last.
#[must_use]
pub fn story() -> String {
    let inventory: Inventory = serde_json::from_value(serde_json::json!({
        "system": {"serial": "SYS-1", "product": "BOX"},
        "threads": [{"cpu": 0, "core": 0, "socket": 0, "node": 0}],
        "memory_bytes": 1_u64 << 30,
    }))
    .unwrap();
    let course = plan(&inventory, &Profile::built_in("demo").unwrap(), Given::default()).unwrap();
    let opening = Opening {
        profile: built_in_text("demo").unwrap().into(),
        models: models(&inventory),
        peers: Vec::new(),
        agent: "0.1.0".into(),
        dut: Dut { serial: course.serial.clone(), manufacturer: None, product: Some("BOX".into()) },
        course,
    };
    let mut writer = Writer::new();
    let mut text = writer.open(&opening, 1, AT).unwrap();
    for (index, task) in
        opening.course.stages.iter().flat_map(|stage| stage.waves.iter().flatten()).enumerate()
    {
        text += &writer.begin(task, 1, AT).unwrap();
        text += &writer.begin(task, 2, AT).unwrap();
        let (outcome, curves) = outcome(task, 2, &[0, 0, u8::try_from(index).unwrap()]);
        text += &writer.end(&outcome, &curves, AT).unwrap();
    }
    let verdict = judge(writer.run().unwrap());
    text + &writer.close(&verdict, AT).unwrap()
}

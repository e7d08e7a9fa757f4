//! Chassis commands (IPMI 2.0, chapter 28): status, power, boot flags.

use super::codec::Message;
use super::{Context, Reply, byte, code, privilege};
use crate::bmc::power::ResetType;
use crate::bmc::system;
use crate::boot::{Override, OverrideEnabled};
use crate::spec::BootTarget;

pub(super) async fn command(context: &mut Context<'_>, message: &Message) -> Reply {
    let data = message.data.as_slice();
    match message.command {
        // Capabilities: no sensors of the chassis itself; all functions are at 20h.
        0x00 => Ok(vec![0x00, 0x20, 0x20, 0x20, 0x20]),
        0x01 => status(context),
        0x02 => control(context, data).await,
        0x04 => context.needs(privilege::OPERATOR).map(|()| Vec::new()),
        0x06 => {
            context.needs(privilege::OPERATOR)?;
            let policy = byte(data, 0)? & 7;
            if policy < 3 {
                context.settings.restore_policy = policy;
            }
            Ok(vec![0x07])
        }
        // Restart cause: by a chassis control command.
        0x07 => Ok(vec![0x01, 0x00]),
        0x08 => set_boot(context, data),
        0x09 => boot(context, data),
        // Power-on hours: one count a minute of nothing yet.
        0x0f => Ok(vec![60, 0, 0, 0, 0]),
        _ => Err(code::INVALID_COMMAND),
    }
}

fn status(context: &Context<'_>) -> Reply {
    context.needs(privilege::USER)?;
    let on = u8::from(context.desk.server.is_on());
    // Identify is supported and off.
    Ok(vec![on | context.settings.restore_policy << 5, 0x00, 0x40, 0x00])
}

async fn control(context: &Context<'_>, data: &[u8]) -> Reply {
    context.needs(privilege::OPERATOR)?;
    let reset = match byte(data, 0)? & 0x0f {
        0 => ResetType::ForceOff,
        1 => ResetType::On,
        2 => ResetType::PowerCycle,
        3 => ResetType::ForceRestart,
        4 => ResetType::Nmi,
        5 => ResetType::GracefulShutdown,
        _ => return Err(code::INVALID_FIELD),
    };
    if reset == ResetType::PowerCycle && !context.desk.server.is_on() {
        return Err(code::NOT_NOW);
    }
    system::command(context.desk, reset).await.map_err(|_| code::NOT_NOW)?;
    Ok(Vec::new())
}

/// Device selectors of the boot flags (IPMI 2.0, table 28-14).
const DEVICES: [(u8, BootTarget); 5] = [
    (1, BootTarget::Pxe),
    (2, BootTarget::Disk),
    (5, BootTarget::Cd),
    (6, BootTarget::Setup),
    (1, BootTarget::UefiHttp),
];

fn set_boot(context: &mut Context<'_>, data: &[u8]) -> Reply {
    context.needs(privilege::OPERATOR)?;
    let parameter = byte(data, 0)? & 0x7f;
    let body = data.get(1..).unwrap_or_default();
    match parameter {
        5 => {
            let (flags, device) = (byte(body, 0)?, byte(body, 1)? >> 2 & 0x0f);
            let target = DEVICES.iter().find(|(number, _)| *number == device).map(|(_, target)| *target);
            if device != 0 && target.is_none() {
                return Err(code::INVALID_FIELD);
            }
            let enabled = match (flags & 0x80, target, flags & 0x40) {
                (0, _, _) | (_, None, _) => OverrideEnabled::Disabled,
                (_, Some(_), 0) => OverrideEnabled::Once,
                (_, Some(_), _) => OverrideEnabled::Continuous,
            };
            let setting = match enabled {
                OverrideEnabled::Disabled => Override::default(),
                OverrideEnabled::Once | OverrideEnabled::Continuous => Override { target, enabled },
            };
            context.settings.boot_efi = flags & 0x20 != 0;
            system::override_boot(context.desk, setting);
            Ok(Vec::new())
        }
        // Set in progress, which flags clear the valid bit, boot info acknowledge.
        0 | 3 | 4 => {
            byte(body, 0)?;
            Ok(Vec::new())
        }
        _ => Err(0x80),
    }
}

fn boot(context: &Context<'_>, data: &[u8]) -> Reply {
    context.needs(privilege::OPERATOR)?;
    let parameter = byte(data, 0)? & 0x7f;
    let mut answer = vec![0x01, parameter];
    match parameter {
        0 | 3 => answer.push(0),
        4 => answer.extend([0, 0]),
        5 => {
            let setting = context.desk.server.boot().read();
            let flags = match setting.enabled {
                OverrideEnabled::Disabled => 0,
                OverrideEnabled::Once => 0x80,
                OverrideEnabled::Continuous => 0xc0,
            };
            let device = DEVICES.iter().find(|(_, target)| Some(*target) == setting.target);
            let efi = if flags != 0 && context.settings.boot_efi { 0x20 } else { 0 };
            answer.extend([flags | efi, device.map_or(0, |(number, _)| number << 2), 0, 0, 0]);
        }
        _ => return Err(0x80),
    }
    Ok(answer)
}

"""Drives a simulated BMC with sushy, OpenStack's Redfish client: arguments are URL, user, file with the password,
URL of an image.  Prints one line per step; any surprise is an exception."""

import sys
import time

import sushy
from sushy import auth, taskmonitor

url, user, password_file, image = sys.argv[1:]
password = open(password_file).read().strip()
steps = 0


def step(name, seen, wanted):
    """One expectation."""
    global steps
    if seen != wanted:
        raise SystemExit(f"{name}: {seen!r} instead of {wanted!r}")
    steps += 1
    print(f"ok {name}")


root = sushy.Sushy(url, auth=auth.SessionAuth(user, password), verify=False)
system = root.get_system("/redfish/v1/Systems/1")
manager = root.get_manager("/redfish/v1/Managers/1")

for reset, power in [
    (sushy.RESET_TYPE_ON, sushy.POWER_STATE_ON),
    (sushy.RESET_TYPE_FORCE_RESTART, sushy.POWER_STATE_ON),
    (sushy.RESET_TYPE_FORCE_OFF, sushy.POWER_STATE_OFF),
]:
    system.reset_system(reset)
    system.refresh(force=True)
    step(f"power {reset.value}", system.power_state, power)

for target in [sushy.BOOT_SOURCE_TARGET_PXE, sushy.BOOT_SOURCE_TARGET_CD, sushy.BOOT_SOURCE_TARGET_UEFI_HTTP]:
    for enabled in [sushy.BOOT_SOURCE_ENABLED_ONCE, sushy.BOOT_SOURCE_ENABLED_CONTINUOUS]:
        system.set_system_boot_options(target, enabled=enabled, mode=sushy.BOOT_SOURCE_MODE_UEFI)
        system.refresh(force=True)
        # The virtual CD of a Supermicro is UsbCd, says sushy.
        seen = sushy.BOOT_SOURCE_TARGET_CD if system.boot.target == sushy.BOOT_SOURCE_TARGET_USB_CD else system.boot.target
        step(f"boot {target.value} {enabled.value}", (seen, system.boot.enabled), (target, enabled))
system.set_system_boot_options(
    sushy.BOOT_SOURCE_TARGET_UEFI_HTTP, enabled=sushy.BOOT_SOURCE_ENABLED_ONCE, http_boot_uri="http://192.0.2.1/a.efi"
)
system.refresh(force=True)
step("HttpBootUri", system.json["Boot"]["HttpBootUri"], "http://192.0.2.1/a.efi")
system.reset_system(sushy.RESET_TYPE_ON)
system.refresh(force=True)
step("once is used up", system.boot.enabled, sushy.BOOT_SOURCE_ENABLED_DISABLED)

for owner in [system, manager]:
    slots = owner.virtual_media.get_members()
    cd = next(slot for slot in slots if sushy.VIRTUAL_MEDIA_CD in slot.media_types)
    cd.insert_media(image, inserted=True, write_protected=True)
    cd.refresh(force=True)
    step("medium inserted", (cd.inserted, cd.image, cd.write_protected), (True, image, True))
    cd.eject_media()
    cd.refresh(force=True)
    step("medium ejected", cd.inserted, False)

secure = system.secure_boot
secure.set_enabled(True)
secure.refresh(force=True)
step("Secure Boot switched on", secure.enabled, True)
databases = {database.database_id.value: database for database in secure.databases.get_members()}
step("databases", sorted(databases), ["KEK", "PK", "db", "dbx"])
databases["db"].reset_keys(sushy.SECURE_BOOT_RESET_KEYS_DELETE_ALL)
secure.reset_keys(sushy.SECURE_BOOT_RESET_KEYS_DELETE_ALL)
secure.refresh(force=True)
step("keys deleted", secure.mode, sushy.SECURE_BOOT_MODE_SETUP)

bios = system.bios
step("BIOS attribute", bios.attributes["SVMMode"], "Enabled")
bios.set_attribute("SVMMode", "Disabled", apply_time=sushy.APPLY_TIME_ON_RESET)
bios.refresh(force=True)
step("not before the start", bios.attributes["SVMMode"], "Enabled")
step("pending", bios.pending_attributes["SVMMode"], "Disabled")
system.reset_system(sushy.RESET_TYPE_FORCE_RESTART)
bios.refresh(force=True)
step("after the start", bios.attributes["SVMMode"], "Disabled")
registry = bios.get_attribute_registry()
step("attribute registry", len(registry.registry_entries.attributes) >= 8, True)

step("memory", system.memory_summary.size_gib, 2.0)
step("processors", system.processors.summary.count, 2)
step("drives", len(system.storage.get_members()[0].drives), 3)
step("volumes", system.storage.get_members()[0].volumes.get_members(), [])
step("interfaces", len(system.ethernet_interfaces.get_members()), 2)
step("simple storage", len(system.simple_storage.get_members()), 1)
chassis = root.get_chassis("/redfish/v1/Chassis/1")
step("fans", len(chassis.thermal.fans), 2)
step("power supply", chassis.power.power_supplies[0].power_capacity_watts, 800)
step("manager's firmware", bool(manager.firmware_version), True)

update = root.get_update_service()
task = update.simple_update(image, targets=["/redfish/v1/UpdateService/FirmwareInventory/BMC"])
# sushy takes the task in the body for the monitor, which it is not.
task = taskmonitor.TaskMonitor(update._conn, task.response.headers["Location"])
while task.check_is_processing:
    time.sleep(0.1)
step("update ended", task.is_processing, False)

inventory = {item.identity: item for item in update.firmware_inventory.get_members()}
step("new version", inventory["BMC"].version, "02.00.00")
sessions = root.get_session_service().sessions.members_identities
step("one session only", len(sessions), 1)
root.get_session_service().close_session(sessions[0])
print(f"{steps} steps passed, 0 failed")

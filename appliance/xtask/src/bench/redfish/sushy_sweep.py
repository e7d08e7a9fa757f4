"""Reads BMCs with sushy by a pool of threads: arguments are the list that rack-bmc printed and the number of threads.
Prints one JSON object."""

import concurrent.futures
import json
import sys
import time

import sushy
import urllib3
from sushy import auth

urllib3.disable_warnings()
path, threads = sys.argv[1], int(sys.argv[2])
with open(path) as file:
    bmcs = [json.loads(line) for line in file if line.startswith("{")]


def read(bmc):
    """The same resources that the others read."""
    session = auth.SessionAuth(bmc["user"], bmc["password"])
    root = sushy.Sushy(bmc["url"], auth=session, verify=False)
    system = root.get_system_collection().get_members()[0]
    count = len(system.processors.get_members())
    modules = system._conn.get(system.path + "/Memory").json()["Members"]
    count += sum(1 for one in modules if system._conn.get(one["@odata.id"]).json()["CapacityMiB"])
    count += sum(len(storage.drives) for storage in system.storage.get_members())
    count += len(system.ethernet_interfaces.get_members())
    count += len(root.get_manager_collection().get_members())
    session.close()
    return count


def tried(bmc):
    try:
        return read(bmc), None
    except Exception as error:  # noqa: BLE001: whatever it is, it is told
        return 0, f"{bmc['url']}: {error!r}"


began = time.monotonic()
with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    results = list(pool.map(tried, bmcs))
failed = [why for _, why in results if why]
print(json.dumps({
    "seconds": time.monotonic() - began,
    "read": sum(1 for _, why in results if not why),
    "parts": sum(count for count, _ in results),
    "failure": failed[0] if failed else None,
}))

"""Kubernetes manifests, container file, Prometheus rules and the Grafana dashboard: well formed, and consistent with each other.

Not a cluster: manifests are held against the schemas of Kubernetes' own API, and what refers to what is followed.
"""

import json
import pathlib
import re
import tomllib
import unittest

import yaml

from tests.skipping import skip_log

try:
    import kubernetes_validate
except ImportError:
    kubernetes_validate = None

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
API = {
    "Namespace": "v1",
    "ConfigMap": "v1",
    "Secret": "v1",
    "Service": "v1",
    "StatefulSet": "apps/v1",
    "Job": "batch/v1",
}
# The oldest that a cloud still sells with long support, and a new one.
KUBERNETES = ("1.29", "1.37")
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def manifests():
    """Every object of every file, with the file's name."""
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            yield path.name, document


def of_kind(*kinds):
    return [document for _, document in manifests() if document["kind"] in kinds]


def pod(workload):
    return workload["spec"]["template"]["spec"]


class Kubernetes(unittest.TestCase):
    def test_every_object_has_the_api_of_its_kind_and_a_name(self):
        for file, document in manifests():
            with self.subTest(file=file, kind=document["kind"]):
                self.assertEqual(document["apiVersion"], API[document["kind"]])
                self.assertTrue(DNS_LABEL.fullmatch(document["metadata"]["name"]))
                if document["kind"] != "Namespace":
                    self.assertEqual(document["metadata"]["namespace"], "pitlane")

    @unittest.skipIf(
        kubernetes_validate is None,
        skip_log(
            "manifests against Kubernetes' schemas",
            "the PyPI package kubernetes-validate is not here (scripts/deploy-tests.sh installs it)",
            kubernetes_validate is None,
        ),
    )
    def test_every_object_keeps_to_the_schema_of_its_kind_in_old_and_new_kubernetes(self):
        for version in KUBERNETES:
            for file, document in manifests():
                with self.subTest(file=file, kind=document["kind"], kubernetes=version):
                    kubernetes_validate.validate(document, version, strict=True)

    def test_selectors_match_the_labels_of_what_they_select(self):
        pods = {w["metadata"]["name"]: w["spec"]["template"]["metadata"]["labels"] for w in of_kind("StatefulSet", "Job")}
        for workload in of_kind("StatefulSet"):
            wanted = workload["spec"]["selector"]["matchLabels"]
            self.assertLessEqual(wanted.items(), pods[workload["metadata"]["name"]].items())
        for service in of_kind("Service"):
            selected = [n for n, labels in pods.items() if service["spec"]["selector"].items() <= labels.items()]
            self.assertEqual(selected, [service["metadata"]["name"]])

    def test_mounted_volumes_exist_and_their_sources_too(self):
        sources = {("configMap", d["metadata"]["name"]) for d in of_kind("ConfigMap")}
        for workload in of_kind("StatefulSet", "Job"):
            volumes = {volume["name"]: volume for volume in pod(workload).get("volumes", [])}
            claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
            for container in pod(workload)["containers"]:
                for mount in container.get("volumeMounts", []):
                    self.assertIn(mount["name"], volumes.keys() | claims)
            for volume in volumes.values():
                if "configMap" in volume:
                    self.assertIn(("configMap", volume["configMap"]["name"]), sources)

    def test_named_ports_exist(self):
        for workload in of_kind("StatefulSet"):
            for container in pod(workload)["containers"]:
                ports = {port["name"] for port in container.get("ports", [])}
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    port = container[probe]["httpGet"]["port"]
                    self.assertTrue(isinstance(port, int) or port in ports)
        names = {p["name"] for w in of_kind("StatefulSet") for c in pod(w)["containers"] for p in c.get("ports", [])}
        for service in of_kind("Service"):
            self.assertLessEqual({port["targetPort"] for port in service["spec"]["ports"]}, names)

    def test_no_container_has_more_rights_than_it_needs(self):
        for workload in of_kind("StatefulSet", "Job"):
            for container in pod(workload)["containers"]:
                security = container["securityContext"]
                self.assertFalse(security["allowPrivilegeEscalation"])
                self.assertTrue(security["readOnlyRootFilesystem"])
                self.assertEqual(security["capabilities"]["drop"], ["ALL"])
                added = set(security["capabilities"].get("add", []))
                wanted = {"NET_ADMIN", "NET_RAW", "BPF", "PERFMON", "IPC_LOCK"} if pod(workload).get("hostNetwork") else set()
                self.assertEqual(added, wanted)

    def test_twenty_clients_have_twenty_accounts(self):
        (job,) = of_kind("Job")
        self.assertEqual((job["spec"]["completions"], job["spec"]["parallelism"]), (20, 20))
        self.assertEqual(job["spec"]["completionMode"], "Indexed")
        for config in of_kind("ConfigMap"):
            (account,) = tomllib.loads(config["data"]["pitlane.toml"])["account"]
            self.assertEqual((account["user"], account["count"]), ("C00000", 20))
        arguments = pod(job)["containers"][0]["args"]
        service, _, port = next(a for a in arguments if a.startswith("--target=")).partition("=")[2].partition(":")
        self.assertIn(service, {d["metadata"]["name"] for d in of_kind("Service")})
        self.assertEqual(port, "26400")

    def test_engine_ports_are_those_of_its_configuration(self):
        for config in of_kind("ConfigMap"):
            settings = tomllib.loads(config["data"]["pitlane.toml"])
            self.assertEqual(settings["network"]["base_port"], 26400)
            self.assertTrue(settings["admin"]["listen"].endswith(":26480"))


class Observability(unittest.TestCase):
    def test_rules_are_complete(self):
        (group,) = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())["groups"]
        names = [rule["alert"] for rule in group["rules"]]
        self.assertEqual(len(names), len(set(names)))
        for rule in group["rules"]:
            with self.subTest(alert=rule["alert"]):
                self.assertIn(rule["labels"]["severity"], ("warning", "critical"))
                self.assertTrue(rule["annotations"]["summary"] and rule["annotations"]["description"])
                self.assertEqual(rule["expr"].count("("), rule["expr"].count(")"))

    def test_scrape_targets_the_admin_port(self):
        (job,) = yaml.safe_load((DEPLOY / "prometheus/scrape.yml").read_text())["scrape_configs"]
        self.assertEqual(job["job_name"], "pitlane")
        self.assertEqual(job["static_configs"][0]["targets"], ["127.0.0.1:26480"])

    def test_dashboard_panels_are_distinct_and_do_not_overlap(self):
        panels = json.loads((DEPLOY / "grafana/pitlane.json").read_text())["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        taken = set()
        for panel in panels:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells
            self.assertTrue(panel["description"] and panel["targets"])


class Container(unittest.TestCase):
    def test_image_holds_both_binaries_and_runs_as_an_ordinary_user(self):
        text = (DEPLOY / "Containerfile").read_text()
        for binary in ("pitlane", "pitlane-loadgen"):
            self.assertIn(f"/src/target/release/{binary} ", text)
        self.assertIn("USER 65532:65532", text)
        stages = re.findall(r"^FROM (\S+)", text, flags=re.M)
        self.assertTrue(all(":" in image for image in stages), "an image without its version is another one tomorrow")


if __name__ == "__main__":
    unittest.main()

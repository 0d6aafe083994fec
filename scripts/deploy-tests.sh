#!/usr/bin/env bash
# Tests of deploy/. The schemas of Kubernetes come with a PyPI package; without it that part of the tests says that it was skipped.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

python=python3
if environment=$(virtual_environment deploy kubernetes-validate==1.37.0 PyYAML==6.0.4); then
	python=$environment/bin/python
fi
exec "$python" -m unittest discover -s deploy/tests -t deploy -p 'test_*.py'

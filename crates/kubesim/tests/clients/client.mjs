// The JavaScript client against a cluster: typed objects, patches, an informer through faults, commands and ports of pods. Ends with 0
// when all is right.
//
// usage: node client.mjs KUBECONFIG FAULTS_URL TOKEN

import assert from 'node:assert/strict';
import https from 'node:https';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { createRequire } from 'node:module';

// The package lies where NODE_PATH says, which only `require` looks at.
const k8s = createRequire(import.meta.url)('@kubernetes/client-node');
const [, , kubeconfig, faultsUrl, token] = process.argv;
const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfig);
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const rbac = config.makeApiClient(k8s.RbacAuthorizationV1Api);
const namespace = 'default';

function faults(wanted) {
  return new Promise((done, failed) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    // The authority is of no interest here.
    const request = https.request(faultsUrl, { method: 'POST', headers, rejectUnauthorized: false }, (answer) => {
      answer.resume();
      answer.on('end', () => (answer.statusCode === 200 ? done() : failed(new Error(`${answer.statusCode}`))));
    });
    request.on('error', failed);
    request.end(JSON.stringify(wanted));
  });
}

async function eventually(what, holds) {
  const end = Date.now() + 30_000;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `waited in vain: ${what}`);
    await sleep(20);
  }
}

function deployment(name, replicas) {
  const labels = { app: name };
  const containers = [{ name: 'main', image: 'web:1', ports: [{ containerPort: 8080 }] }];
  return {
    metadata: { name },
    spec: { replicas, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers } } },
  };
}

async function typedObjects() {
  await core.createNamespace({ body: { metadata: { name: 'js' } } });
  const made = await core.createNamespacedConfigMap({ namespace: 'js', body: { metadata: { name: 'a' }, data: { x: '1' } } });
  const changed = { namespace: 'js', name: 'a', body: { ...made, data: { x: '2' } } };
  await core.replaceNamespacedConfigMap(changed);
  await assert.rejects(core.replaceNamespacedConfigMap(changed), (error) => error.code === 409);
  await assert.rejects(core.readNamespacedPod({ namespace: 'js', name: 'nobody' }), (error) => error.code === 404);
  const wrong = deployment('wrong', -1);
  await assert.rejects(apps.createNamespacedDeployment({ namespace, body: wrong }), (error) => error.code === 422);
  const rules = [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }];
  await rbac.createNamespacedRole({ namespace: 'js', body: { metadata: { name: 'r' }, rules } });
  const objects = k8s.KubernetesObjectApi.makeApiClient(config);
  const applied = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace: 'js' }, data: { y: '3' } };
  const done = await objects.patch(applied, undefined, undefined, 'js', true, k8s.PatchStrategy.ServerSideApply);
  assert.deepEqual(done.data, { x: '2', y: '3' });
}

async function informer() {
  await apps.createNamespacedDeployment({ namespace, body: deployment('node', 3) });
  const list = () => core.listNamespacedPod({ namespace, labelSelector: 'app=node' });
  const pods = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/pods`, list, 'app=node');
  const told = { add: 0, update: 0, delete: 0 };
  for (const kind of Object.keys(told)) {
    pods.on(kind, () => (told[kind] += 1));
  }
  pods.on('error', () => setTimeout(() => pods.start(), 50));
  await pods.start();
  const names = () => pods.list(namespace).map((pod) => pod.metadata.name).sort();
  const there = async () => (await list()).items.map((pod) => pod.metadata.name).sort();
  const agrees = async (count) => names().length === count && JSON.stringify(names()) === JSON.stringify(await there());
  await eventually('three pods', () => agrees(3));
  const scale = (replicas) =>
    apps.patchNamespacedDeployment(
      { namespace, name: 'node', body: { spec: { replicas } } },
      k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch),
    );
  // The watch breaks, and what it might go on from is forgotten.
  await faults({ drop_watches: true });
  await faults({ compact: true });
  await scale(5);
  await eventually('five pods after a break', () => agrees(5));
  await faults({ drop_watches: true });
  await scale(2);
  await eventually('two pods after another break', () => agrees(2));
  await pods.stop();
  assert.ok(told.add >= 5 && told.delete >= 3 && told.update > 0, JSON.stringify(told));
}

async function pod(name, container) {
  const annotations = container.command ? { 'sim.bcs/process': 'true' } : {};
  const containers = [{ name: 'main', image: 'web:1', ...container }];
  await core.createNamespacedPod({ namespace, body: { metadata: { name, annotations }, spec: { containers } } });
  const ready = async () => (await core.readNamespacedPod({ namespace, name })).status?.containerStatuses?.[0]?.ready;
  await eventually(`${name} is ready`, ready);
}

async function commands() {
  await pod('real', { command: ['sh', '-c', 'while :; do sleep 1; done'] });
  const exec = new k8s.Exec(config);
  const run = async (command, stdin) => {
    const [out, err] = [new PassThrough(), new PassThrough()];
    const said = Promise.all([text(out), text(err)]);
    const status = await new Promise((done, failed) => {
      exec.exec(namespace, 'real', 'main', command, out, err, stdin, false, done).catch(failed);
    });
    return [await said, status];
  };
  const [said, status] = await run(['sh', '-c', 'echo out; echo err >&2; exit 3'], null);
  assert.deepEqual(said, ['out\n', 'err\n']);
  assert.equal(status.details.causes.find((cause) => cause.reason === 'ExitCode').message, '3');
  const input = new PassThrough();
  input.end('typed\n');
  const [[copied], good] = await run(['cat'], input);
  assert.deepEqual([copied, good.status], ['typed\n', 'Success']);
}

async function ports() {
  await pod('web', { ports: [{ containerPort: 8080 }] });
  const [input, output, errors] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const socket = await new k8s.PortForward(config).portForward(namespace, 'web', [8080], output, errors, input);
  let answer = '';
  output.on('data', (part) => (answer += part));
  input.write('GET /here HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n');
  await eventually('an answer', async () => answer.includes('"path":"/here"'));
  socket.close();
}

for (const step of [typedObjects, informer, commands, ports]) {
  await step();
  console.log(`${step.name}: right`);
}
process.exit(0);

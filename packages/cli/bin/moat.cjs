#!/usr/bin/env node
/* ES5 on purpose: whatever Node is found first must be able to read this file and say what to do. */
'use strict';
var fs = require('node:fs'),
  path = require('node:path'),
  url = require('node:url');
var MIN = [24, 18, 1];

function newEnough(version) {
  var parts = version.split('.').map(Number);
  for (var i = 0; i < 3; i++) if (parts[i] !== MIN[i]) return parts[i] > MIN[i];
  return true;
}

/** The Node that scripts/setup.mjs brought, or npm linked. */
function findPinnedNode() {
  for (var dir = __dirname; ; dir = path.dirname(dir)) {
    var candidates = ['node_modules/.bin/node', 'tools/node/node_modules/.bin/node'];
    for (var i = 0; i < candidates.length; i++) {
      var candidate = path.join(dir, candidates[i]);
      if (fs.existsSync(candidate)) return candidate;
    }
    if (path.dirname(dir) === dir) return undefined;
  }
}

function startAgain(node) {
  var child = require('node:child_process').spawn(node, [__filename].concat(process.argv.slice(2)), {
    stdio: 'inherit',
    env: Object.assign({}, process.env, { MOAT_REEXEC: '1' }),
  });
  ['SIGINT', 'SIGTERM', 'SIGHUP'].forEach(function (signal) {
    process.on(signal, function () {
      // A terminal sends Ctrl-C to the whole group; only what came to us alone is passed on.
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  });
  child.on('exit', function (code, signal) {
    if (code !== null) process.exit(code);
    process.exit(signal === 'SIGINT' ? 130 : signal === 'SIGTERM' ? 143 : 1);
  });
}

function start() {
  var sources = path.join(__dirname, '..', 'src', 'main.ts');
  if (!fs.existsSync(sources)) return import(url.pathToFileURL(path.join(__dirname, '..', 'dist', 'main.js')).href);
  // Same as --conditions=@moat/source, without starting Node a second time.
  require('node:module').registerHooks({
    resolve: function (specifier, context, nextResolve) {
      var conditions = context.conditions.concat('@moat/source');
      return nextResolve(specifier, Object.assign({}, context, { conditions: conditions }));
    },
  });
  return import(url.pathToFileURL(sources).href);
}

var again = process.env.MOAT_REEXEC === '1';
delete process.env.MOAT_REEXEC;
var pinned = newEnough(process.versions.node) || again ? undefined : findPinnedNode();

if (newEnough(process.versions.node)) void start();
else if (pinned !== undefined) startAgain(pinned);
else {
  console.error(
    '\u2717 moat needs Node.js ' +
      MIN.join('.') +
      ' or newer; this is ' +
      process.version +
      ' (' +
      process.execPath +
      ')\n' +
      '  Cause  earlier versions carry security bugs in their HTTP proxy and HTTP/2 code\n' +
      '  Next   node scripts/setup.mjs                in a clone: brings a pinned Node\n' +
      '         https://nodejs.org/en/download        elsewhere\n' +
      '  Code   NODE_TOO_OLD   docs/errors.md#node_too_old',
  );
  process.exit(69);
}

import './theme/tokens.css';
import './theme/base.css';
import './theme/parts.css';
import './runs/runs.css';
import './functions/functions.css';
import { render } from 'preact';
import { App } from './app';
import { keepDropsInside } from './functions/files';
import { listenToKeys } from './shell/keyboard';
import { applyTheme } from './shell/theme';

applyTheme();
listenToKeys();
keepDropsInside();
const root = document.getElementById('app');
if (root) render(<App />, root);

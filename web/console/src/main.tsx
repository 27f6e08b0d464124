import './theme/tokens.css';
import './theme/base.css';
import './theme/parts.css';
import { render } from 'preact';
import { App } from './app';
import { listenToKeys } from './shell/keyboard';
import { applyTheme } from './shell/theme';

applyTheme();
listenToKeys();
const root = document.getElementById('app');
if (root) render(<App />, root);
